"""Opens a Unix datagram socket, which could send to any name."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Without seccomp there is a socket; whom it reaches is what sends_to_* ask.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Make one."""
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).close()
