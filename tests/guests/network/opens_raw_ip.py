"""Opens a raw IP socket: packets of its own making."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp it is the capability that is missing; a user never has it for the host's network.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "EPERM"}, user={"control": "EPERM"})


@reported
def main(_: Worker) -> None:
    """Make one."""
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
