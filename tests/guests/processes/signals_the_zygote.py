"""Signals the process that all workers are forked of; the supervisor has no number here."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp are Landlock's scope and, as root, a uid of its own.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "EPERM", "seccomp landlock": "EPERM"},
    user={"seccomp landlock": "success"},
)


@reported
def main(_: Worker) -> None:
    """Ask whether it may (signal 0)."""
    os.kill(1, 0)
