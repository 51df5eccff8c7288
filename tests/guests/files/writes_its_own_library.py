"""Opens a module of the standard library for writing, which every other worker would import."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp it is not the guest's to write; a user whose it is meets a root that is for reading alone.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "EACCES"}, user={"seccomp": "EROFS"})


@reported
def main(_: Worker) -> None:
    """Open it; nothing is written."""
    os.close(os.open(os.__file__, os.O_WRONLY))
