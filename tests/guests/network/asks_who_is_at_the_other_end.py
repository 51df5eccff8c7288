"""Asks for the process and the user at the other end of its control channel."""

import os
import socket

from sandbox.abi import CONTROL_CHANNEL
from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Without seccomp it learns numbers: another namespace's process, a user that is nobody there.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Ask for SO_PEERCRED."""
    with socket.socket(fileno=os.dup(CONTROL_CHANNEL)) as sock:
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
