"""Sends to an abstract name from a socket that an unconfined worker gave it."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# The name is looked for in the giver's network, and seccomp sees no address in sendmsg: Landlock's scope is all.
GUEST = Guest(Layer.LANDLOCK, strict="EPERM", without={"landlock": "success"}, company=("accomplice",))


@reported
def main(worker: Worker) -> None:
    """Send to a mailbox of the host's."""
    _, (fd,) = company(worker, "accomplice", "unix datagram")
    with socket.socket(fileno=fd) as sock:
        sock.sendmsg([b"hello"], [], 0, f"\0{worker.args['name']}-mailbox")
