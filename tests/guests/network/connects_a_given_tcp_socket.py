"""Connects a socket that an unconfined worker gave it."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# The socket is of the giver's network: no namespace of the guest's matters.
GUEST = Guest(
    Layer.SECCOMP, strict="EPERM", without={"seccomp": "EACCES", "seccomp landlock": "success"}, company=("accomplice",)
)


@reported
def main(worker: Worker) -> None:
    """Connect it to a server of the host's."""
    _, (fd,) = company(worker, "accomplice", "tcp")
    with socket.socket(fileno=fd) as sock:
        sock.connect(("127.0.0.1", worker.args["port"]))
