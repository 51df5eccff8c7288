"""Lists the root directory."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind Landlock is the empty root.
GUEST = Guest(Layer.LANDLOCK, strict="EACCES", without={"landlock": "no proc"})


@reported
def main(_: Worker) -> str:
    """Return success where it is a system's."""
    return "success" if "proc" in os.listdir("/") else "no proc"
