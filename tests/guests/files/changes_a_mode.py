"""Changes who may do what with a file."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Landlock has no right for this: where the file is seen, and is the guest's user's, seccomp is all.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "ENOENT", "seccomp empty_root own_uid": "success"})


@reported
def main(worker: Worker) -> None:
    """Have nobody else read it."""
    os.chmod(worker.args["scratch"] + "/file", 0o600)
