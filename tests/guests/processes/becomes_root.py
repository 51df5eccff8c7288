"""Becomes root."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp: in its user namespace there is no such user, nor any other. In that of a user's run there is no root.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "EINVAL"}, user={"control": "EINVAL"})


@reported
def main(_: Worker) -> None:
    """Set its uid to 0."""
    os.setuid(0)
