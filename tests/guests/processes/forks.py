"""Forks."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Without seccomp it may, as often as its limit on processes allows: see forks_from_c.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Have a child, which ends, and for which nobody waits: that is another call."""
    if not os.fork():
        os._exit(0)
