"""Says on which processors a sibling runs."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# Behind seccomp is, as root, a uid of its own; a user's workers have nothing else.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "EPERM", "seccomp own_uid": "success"},
    user={"seccomp": "success"},
    company=("victim",),
)


@reported
def main(worker: Worker) -> None:
    """Say what is so already."""
    facts, _ = company(worker, "victim")
    os.sched_setaffinity(facts["pid"], os.sched_getaffinity(0))
