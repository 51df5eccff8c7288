"""Opens a netlink socket: how the network is set up."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Without seccomp it is a socket of the run's own network, where there is nothing to see.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Make one."""
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
