"""Forks and forks (a fork bomb), here to a hundred."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp is the limit on processes: see forks_from_c.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})

ENOUGH = 100


@reported
def main(_: Worker) -> None:
    """Have children that are there until there are enough or no more can be had."""
    reader, writer = os.pipe()
    for _child in range(ENOUGH):
        if not os.fork():
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
