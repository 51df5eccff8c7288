"""Signals everybody whom it may."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp there is nothing to be seen: the kernel calls it a success however few it may signal.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", company=("victim",))


@reported
def main(_: Worker) -> None:
    """Ask whether there is anybody (signal 0)."""
    os.kill(-1, 0)
