"""Reads how much time of the processor a sibling has used, which tells what it does."""

import time

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# The kernel tells everybody.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"}, company=("victim",))

CPUCLOCK_SCHED = 2  # linux/posix-timers.h


@reported
def main(worker: Worker) -> None:
    """Read the clock that is made of its number."""
    facts, _ = company(worker, "victim")
    assert time.clock_gettime(~facts["pid"] << 3 | CPUCLOCK_SCHED) > 0
