"""Has a given socket connect with its first data (TCP fast open), by sendto(2)."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", control="success or EINPROGRESS", company=("accomplice",))


@reported
def main(worker: Worker) -> None:
    """Send data to a server of the host's."""
    _, (fd,) = company(worker, "accomplice", "tcp")
    with socket.socket(fileno=fd) as sock:
        sock.sendto(b"hello", socket.MSG_FASTOPEN, ("127.0.0.1", worker.args["port"]))
