"""Renames a directory of the host's."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "ENOENT", "seccomp empty_root own_uid": "EACCES"})


@reported
def main(worker: Worker) -> None:
    """Rename one."""
    folder = worker.args["scratch"]
    os.rename(folder + "/directory", folder + "/renamed")
