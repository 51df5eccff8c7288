"""Makes a pair of datagram sockets, either of which could send to any name."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# The pairs that are allowed, of streams and of packets in sequence, can send to their other end alone.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Make one."""
    for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
        end.close()
