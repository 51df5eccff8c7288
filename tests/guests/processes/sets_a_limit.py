"""Sets a limit of its own, as if it had never been set."""

import resource

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# Behind seccomp it is the capability to raise one that is missing.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Say what is so already."""
    call("prlimit64", 0, resource.RLIMIT_CORE, bytes(16), None)
