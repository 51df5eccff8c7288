"""Watches what others do with files."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# Without seccomp it could watch what it can see, and others see it.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Ask for an inotify."""
    os.close(call("inotify_init1", 0))
