"""Makes a pair of the allowed type, but of another protocol."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# No kernel has one yet: unconfined, it is the kernel that answers.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", control="EPROTONOSUPPORT", without={"seccomp": "EPROTONOSUPPORT"})


@reported
def main(_: Worker) -> None:
    """Ask for it."""
    socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET, 7)
