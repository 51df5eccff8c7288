"""Makes a system call that there is not, as it would make one that is newer than the filter."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call_number
from tests.guests.guest import Guest, reported

# What is not on the list is refused, whatever it is.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", control="ENOSYS", without={"seccomp": "ENOSYS"})


@reported
def main(_: Worker) -> None:
    """Make it."""
    call_number(1000)
