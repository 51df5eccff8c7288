"""Opens what is at a descriptor for more than the descriptor is open for."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Landlock has nothing to say of what is in no file system, such as pipes: that there is no /proc is all.
# Its own uid is off as well, for the interpreter may lie where only root comes: the empty root is made before that.
GUEST = Guest(Layer.EMPTY_ROOT, strict="ENOENT", without={"empty_root own_uid": "success"})


@reported
def main(_: Worker) -> None:
    """Open the pipe that is its stdout, for reading."""
    os.close(os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK))
