"""Sends over a pair, and to an address beside."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Without seccomp the kernel takes it, and looks at no address: see sends_a_message_with_an_address.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(worker: Worker) -> None:
    """Address a path by sendto(2)."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        left.sendto(b"hello", f"{worker.args['folder']}/mailbox")
