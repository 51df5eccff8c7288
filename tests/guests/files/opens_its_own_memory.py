"""Opens its memory as a file, which knows no protection of pages."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Its own uid is off as well, for the interpreter may lie where only root comes: the empty root is made before that.
GUEST = Guest(Layer.EMPTY_ROOT, strict="ENOENT", without={"empty_root own_uid": "EACCES"})


@reported
def main(_: Worker) -> None:
    """Open it."""
    os.close(os.open("/proc/self/mem", os.O_RDONLY))
