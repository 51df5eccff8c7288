"""Opens a message queue of the host's (POSIX)."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# ENOENT: the kernel has looked.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", control="ENOENT", without={"seccomp": "ENOENT"})


@reported
def main(_: Worker) -> None:
    """Open one that there is not."""
    call("mq_open", b"imclab", os.O_RDONLY, 0, None)
