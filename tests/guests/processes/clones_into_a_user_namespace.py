"""Has a child in a user namespace of its own, by flags of clone(2)."""

import os
import signal

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# Behind seccomp: who has no id that is mapped, being in a user namespace, may make none.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "EPERM", "user_namespace": "EPERM", "seccomp user_namespace": "success"},
)

CLONE_NEWUSER = 0x1000_0000  # linux/sched.h


@reported
def main(_: Worker) -> None:
    """Have one, which ends."""
    if not call("clone", CLONE_NEWUSER | signal.SIGCHLD):
        os._exit(0)
