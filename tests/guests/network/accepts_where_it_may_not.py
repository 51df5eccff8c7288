"""Accepts a connection as the kernel does it."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# EINVAL: the kernel has looked, and the socket does not listen.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", control="EINVAL", without={"seccomp": "EINVAL"})


@reported
def main(_: Worker) -> None:
    """Accept at one end of a pair."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        left.accept()
