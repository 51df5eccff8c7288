"""Sends a message over a pair, and to an address beside, which seccomp cannot see."""

import socket

from sandbox.worker import Worker
from tests.guests.guest import NATURE, Guest, reported

# A connected socket of packets in sequence sends to its other end, whatever the address.
GUEST = Guest(NATURE, strict="the other end's", control="the other end's")


@reported
def main(worker: Worker) -> str:
    """Address a path by sendmsg(2), and see who gets it."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        left.sendmsg([b"hello"], [], 0, f"{worker.args['folder']}/mailbox")
        return "the other end's" if right.recv(100, socket.MSG_DONTWAIT) == b"hello" else "success"
