"""Asks whether there is a process of a number."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# The run's PID namespace has nobody in it but the run; behind seccomp, that there is somebody is told.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"}, company=("victim",))


@reported
def main(worker: Worker) -> None:
    """Ask for the group of a sibling."""
    facts, _ = company(worker, "victim")
    os.getpgid(facts["pid"])
