"""Opens a packet socket: all that passes on the wire."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp it is the capability that is missing; a user never has it for the host's network.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "EPERM"}, user={"control": "EPERM"})


@reported
def main(_: Worker) -> None:
    """Make one."""
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
