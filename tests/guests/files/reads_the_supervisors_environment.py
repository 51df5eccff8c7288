"""Reads the environment of the supervisor."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# A user's workers are in the run's user namespace, from which there is no looking into the supervisor's.
# Its own uid is off as well, for the interpreter may lie where only root comes: the empty root is made before that.
GUEST = Guest(Layer.EMPTY_ROOT, strict="ENOENT", without={"empty_root own_uid": "EACCES"}, user={"control": "EACCES"})


@reported
def main(worker: Worker) -> None:
    """Read a little of it."""
    fd = os.open(f"/proc/{worker.args['supervisor']}/environ", os.O_RDONLY)
    assert os.read(fd, 1)
