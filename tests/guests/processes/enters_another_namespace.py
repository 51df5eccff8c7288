"""Enters a namespace of others."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# EINVAL: the kernel has looked for a namespace there. To have a descriptor of one takes a /proc.
GUEST = Guest(Layer.SECCOMP, strict="SIGSYS", control="EINVAL", without={"seccomp": "EINVAL"})


@reported
def main(_: Worker) -> None:
    """Enter what is at descriptor 0, which is none."""
    call("setns", 0, 0)
