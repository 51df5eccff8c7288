"""Changes how the kernel sees it: all that it reads can be executed."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})

READ_IMPLIES_EXEC = 0x400000  # linux/personality.h


@reported
def main(_: Worker) -> None:
    """Ask for that."""
    call("personality", READ_IMPLIES_EXEC)
