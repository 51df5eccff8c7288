"""Opens a UDP socket over IPv6."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Without seccomp there is a socket, and a network with nobody in it: see sends_by_udp.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Make one."""
    socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
