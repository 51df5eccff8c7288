"""Sends to a path from a socket that an unconfined worker gave it."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# Seccomp sees no address in sendmsg, and Landlock's scope knows no paths: that there is no such path is all.
# Its own uid is off as well, for the interpreter may lie where only root comes.
GUEST = Guest(Layer.EMPTY_ROOT, strict="ENOENT", without={"empty_root own_uid": "success"}, company=("accomplice",))


@reported
def main(worker: Worker) -> None:
    """Send to a mailbox of the host's."""
    _, (fd,) = company(worker, "accomplice", "unix datagram")
    with socket.socket(fileno=fd) as sock:
        sock.sendmsg([b"hello"], [], 0, worker.args["folder"] + "/mailbox")
