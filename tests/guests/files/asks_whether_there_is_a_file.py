"""Asks how large a file of the host's is, which Landlock leaves open."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Its own uid is off as well, for the interpreter may lie where only root comes: the empty root is made before that.
GUEST = Guest(Layer.EMPTY_ROOT, strict="ENOENT", without={"empty_root own_uid": "success"})


@reported
def main(_: Worker) -> None:
    """Ask for /etc/passwd."""
    os.stat("/etc/passwd")
