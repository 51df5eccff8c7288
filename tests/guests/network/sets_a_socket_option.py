"""Sets an option of a socket that its other holders would feel: a timeout."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Set one at a pair of its own."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        left.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(16))
