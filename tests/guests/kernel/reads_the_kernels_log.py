"""Reads the kernel's log."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# Some kernels tell every user.
GUEST = Guest(
    Layer.SECCOMP, strict="SIGSYS", without={"seccomp": "success or EPERM"}, user={"control": "success or EPERM"}
)

SYSLOG_ACTION_SIZE_BUFFER = 10  # linux/syslog.h


@reported
def main(_: Worker) -> None:
    """Ask how large it is."""
    call("syslog", SYSLOG_ACTION_SIZE_BUFFER, None, 0)
