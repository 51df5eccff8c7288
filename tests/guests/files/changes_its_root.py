"""Changes its root, from which a known way leads out."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp it is the capability that is missing. A user has it unconfined: in the user namespace of the run.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "EPERM"})


@reported
def main(_: Worker) -> None:
    """Change it to the same one."""
    os.chroot("/")
