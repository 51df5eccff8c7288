"""Sends a message to an address beside, which seccomp cannot see, from one end of whatever pair it can make."""

import select
import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# An end of a datagram pair sends to any address, and seccomp leaves it none: a connected socket of packets in sequence
# sends to its other end, whatever the address. Behind seccomp is the empty root, and behind that nothing.
GUEST = Guest(
    Layer.SECCOMP,
    strict="the other end's",
    without={"seccomp": "ENOENT", "seccomp empty_root own_uid": "success"},
)


@reported
def main(worker: Worker) -> str:
    """Address a path by sendmsg(2), and see who gets it."""
    left, right = pair()
    with left, right:
        left.sendmsg([b"hello"], [], 0, f"{worker.args['folder']}/mailbox")
        arrived, _, _ = select.select([right], [], [], 0)
        return "the other end's" if arrived else "success"


def pair() -> tuple[socket.socket, socket.socket]:
    """Return a pair of datagram sockets, or of what there can be instead. Raises OSError."""
    try:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    except PermissionError:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
