"""Swaps its root for another."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# EBUSY, or EINVAL, by what the root is: it might, and nothing happens here. A user may not in the host's namespace.
GUEST = Guest(
    Layer.SECCOMP, strict="SIGSYS", control="EBUSY or EINVAL", without={"seccomp": "EPERM"}, user={"control": "EPERM"}
)


@reported
def main(_: Worker) -> None:
    """Swap it for itself, which cannot be."""
    call("pivot_root", b"/", b"/")
