"""Mounts a file system over what others see."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# ENODEV: it might, and the kernel has looked for the kind, of which there is none, so that nothing happens here.
# A user may not mount in the namespace of the host.
GUEST = Guest(Layer.SECCOMP, strict="SIGSYS", control="ENODEV", without={"seccomp": "EPERM"}, user={"control": "EPERM"})


@reported
def main(_: Worker) -> None:
    """Mount one that there is not."""
    call("mount", b"none", b"/", b"imclab", 0, None)
