"""Enters a user namespace of its own, where it would have every capability."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# Behind seccomp: who has no id that is mapped may make none.
GUEST = Guest(Layer.SECCOMP, strict="SIGSYS", without={"seccomp": "EPERM"})

CLONE_NEWUSER = 0x1000_0000  # linux/sched.h


@reported
def main(_: Worker) -> None:
    """Unshare it."""
    call("unshare", CLONE_NEWUSER)
