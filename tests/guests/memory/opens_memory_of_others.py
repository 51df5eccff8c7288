"""Opens shared memory of the host's by its name (POSIX)."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Its own uid is off as well, for the interpreter may lie where only root comes: the empty root is made before that.
GUEST = Guest(Layer.EMPTY_ROOT, strict="ENOENT", without={"empty_root own_uid": "EACCES"})


@reported
def main(worker: Worker) -> None:
    """Open it."""
    os.close(os.open(f"/dev/shm/{worker.args['name']}", os.O_RDONLY))  # noqa: S108 - where shm_open(3) has its names
