"""Loads another kernel, to be started next."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# EINVAL: it might, and nothing happens here. No user may.
GUEST = Guest(
    Layer.SECCOMP,
    strict="SIGSYS",
    control="EINVAL or ENOSYS",
    without={"seccomp": "EPERM or ENOSYS"},
    user={"control": "EPERM or ENOSYS"},
)


@reported
def main(_: Worker) -> None:
    """Load nothing, with a flag that there is not."""
    call("kexec_load", 0, 0, None, 1 << 11)
