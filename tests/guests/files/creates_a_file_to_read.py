"""Creates a file that it opens for reading alone."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# As for creates_a_file, with nothing else in the flags that could be refused.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={
        "seccomp": "ENOENT",
        "seccomp empty_root own_uid": "EACCES",
        "seccomp empty_root own_uid landlock": "success",
        "empty_root own_uid landlock": "EPERM",
    },
)


@reported
def main(worker: Worker) -> None:
    """Open one with O_CREAT."""
    os.close(os.open(worker.args["scratch"] + "/created-empty", os.O_RDONLY | os.O_CREAT))
