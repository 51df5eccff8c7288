"""Asks for the interfaces of the network, at a pair of sockets."""

import fcntl
import socket
import struct

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Without seccomp it learns that the run's own network has none.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})

SIOCGIFCONF = 0x8912  # linux/sockios.h


@reported
def main(_: Worker) -> None:
    """Ask by ioctl(2)."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        # Of no length, and nowhere: how much there would be.
        fcntl.ioctl(left, SIOCGIFCONF, struct.pack("iQ", 0, 0))
