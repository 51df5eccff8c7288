"""Sends a datagram to a port of the host's."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Landlock knows no UDP: behind seccomp is the network with nobody in it, and behind that nothing.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "ENETUNREACH", "seccomp network_namespace": "success"})


@reported
def main(worker: Worker) -> None:
    """Open a socket and send."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"hello", ("127.0.0.1", worker.args["port"]))
