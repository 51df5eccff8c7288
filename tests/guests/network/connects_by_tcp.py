"""Connects to a server of the host's."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp is Landlock's refusal of all ports, and behind that a network with nobody in it.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "EACCES", "seccomp landlock": "ENETUNREACH", "seccomp landlock network_namespace": "success"},
)


@reported
def main(worker: Worker) -> None:
    """Open a socket and connect."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.connect(("127.0.0.1", worker.args["port"]))
