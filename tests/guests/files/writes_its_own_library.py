"""Opens a module of the standard library for writing, which every other worker would import."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp it is not the guest's to write; whose it is meets a root that is for reading alone. It is root's, or
# that of the user who installed it.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "EACCES", "seccomp own_uid": "EROFS"},
    user={"control": "EACCES or success", "seccomp": "EACCES or EROFS", "seccomp own_uid": "EACCES or EROFS"},
)


@reported
def main(_: Worker) -> None:
    """Open it; nothing is written."""
    os.close(os.open(os.__file__, os.O_WRONLY))
