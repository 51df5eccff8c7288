"""Asks for a child by clone3(2), whose flags no filter can see."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# As if the kernel had no such call, for libraries try it first. EINVAL: the kernel has looked.
GUEST = Guest(Layer.SECCOMP, strict="ENOSYS", control="EINVAL", without={"seccomp": "EINVAL"})


@reported
def main(_: Worker) -> None:
    """Ask with arguments of no length."""
    call("clone3", None, 0)
