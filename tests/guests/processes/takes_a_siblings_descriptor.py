"""Takes the control channel out of a sibling."""

import os

from sandbox.abi import CONTROL_CHANNEL
from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call, company
from tests.guests.guest import Guest, reported

# Behind seccomp: the kernel asks whether one may trace the other, and no two may.
GUEST = Guest(Layer.SECCOMP, strict="SIGSYS", without={"seccomp": "EPERM"}, company=("victim",))


@reported
def main(worker: Worker) -> None:
    """Copy it by pidfd_getfd(2)."""
    facts, _ = company(worker, "victim")
    try:
        sibling = os.pidfd_open(facts["pid"])
    except OSError:
        sibling = 0
    os.close(call("pidfd_getfd", sibling, CONTROL_CHANNEL, 0))
