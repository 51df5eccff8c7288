"""Creates a file."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp there is no such folder; where there is, Landlock refuses; where that is off too, nothing but seccomp.
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
    os.close(os.open(worker.args["scratch"] + "/created", os.O_WRONLY | os.O_CREAT))
