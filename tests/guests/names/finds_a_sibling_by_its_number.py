"""Asks whether there is a process of a number."""

import os

from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import NATURE, Guest, reported

# The run's PID namespace has nobody in it but the run. That there is somebody of this number is all that is told.
GUEST = Guest(NATURE, strict="success", company=("victim",))


@reported
def main(worker: Worker) -> None:
    """Ask for the group of a sibling."""
    facts, _ = company(worker, "victim")
    os.getpgid(facts["pid"])
