"""Leaves a symbolic link for others to follow."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "ENOENT", "seccomp empty_root own_uid": "EACCES"})


@reported
def main(worker: Worker) -> None:
    """Make one."""
    os.symlink("/etc/passwd", worker.args["scratch"] + "/pointer")
