"""Reboots."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# EINVAL: it might, and nothing happens here. In a PID namespace it would be the end of that.
GUEST = Guest(Layer.SECCOMP, strict="SIGSYS", control="EINVAL", without={"seccomp": "EPERM"})


@reported
def main(_: Worker) -> None:
    """Ask for it without the words that it takes."""
    call("reboot", 0, 0, 0, None)
