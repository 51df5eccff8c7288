"""Climbs out of a directory of the host's that an unconfined worker gave it."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# A topology grants no directories, since one leads past the empty root: behind Landlock is nothing.
GUEST = Guest(Layer.LANDLOCK, strict="EACCES", without={"landlock": "success"}, company=("accomplice",))


@reported
def main(worker: Worker) -> None:
    """Open what every system has, from there."""
    _, (fd,) = company(worker, "accomplice", "scratch")
    os.close(os.open("../" * 20 + "etc/passwd", os.O_RDONLY, dir_fd=fd))
