"""Makes a file of the host's shorter."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import READER, Guest, reported

# Behind seccomp is, as root, a uid of its own, then a root that is for reading alone, where the guest sees the file
# at all; where the root is whole, Landlock refuses.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={
        "seccomp": "EACCES",
        "seccomp own_uid": "EROFS",
        "seccomp empty_root own_uid": "EACCES",
        "seccomp empty_root own_uid landlock": "success",
    },
    user={"seccomp": "EROFS"},
    strict_settings={"confinement": READER},
)


@reported
def main(worker: Worker) -> None:
    """Leave nothing of it."""
    os.truncate(worker.args["readable"] + "/file", 0)
