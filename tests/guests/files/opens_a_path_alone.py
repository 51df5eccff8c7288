"""Opens a path without reading it (O_PATH), to get on from there."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Landlock lets paths be opened: it asks when they are used.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Open the root."""
    os.close(os.open("/", os.O_PATH))
