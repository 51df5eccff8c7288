"""Reads /etc/passwd, which every program elsewhere may read."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Its own uid is off as well, for the interpreter may lie where only root comes: the empty root is made before that.
GUEST = Guest(
    Layer.EMPTY_ROOT,
    strict="ENOENT",
    without={"empty_root own_uid": "EACCES", "empty_root own_uid landlock": "success"},
)


@reported
def main(_: Worker) -> None:
    """Read a little of it."""
    fd = os.open("/etc/passwd", os.O_RDONLY)
    assert os.read(fd, 1)
