"""Makes a call by the numbers of x32, of which a filter for x86_64 may know nothing."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call_number
from tests.guests.guest import Guest, reported

# Few kernels have them.
GUEST = Guest(
    Layer.SECCOMP,
    strict="SIGSYS",
    control="success or ENOSYS",
    without={"seccomp": "success or ENOSYS"},
    machine="x86_64",
)

X32_BIT = 0x40000000  # asm/unistd.h
GETPID = 39


@reported
def main(_: Worker) -> None:
    """Ask for its process id."""
    call_number(X32_BIT | GETPID)
