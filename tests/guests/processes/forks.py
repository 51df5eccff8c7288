"""Forks."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Without seccomp it may, as often as its limit on processes allows: see forks_from_c.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Have a child, which ends."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
