"""Takes a descriptor of a sibling (pidfd_open), by which it would be signalled, or waited for."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# As if the kernel had no such call, for libraries try it. Without seccomp it has one, and may do nothing with it.
GUEST = Guest(Layer.SECCOMP, strict="ENOSYS", without={"seccomp": "success"}, company=("victim",))


@reported
def main(worker: Worker) -> None:
    """Take one."""
    facts, _ = company(worker, "victim")
    os.close(os.pidfd_open(facts["pid"]))
