"""Renames the host."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# EINVAL: it might, and nothing happens here. A user may not rename the host.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", control="EINVAL", without={"seccomp": "EPERM"}, user={"control": "EPERM"})


@reported
def main(_: Worker) -> None:
    """Give it a name of no length that can be."""
    call("sethostname", b"guest", -1)
