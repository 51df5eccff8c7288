"""Opens a vsock socket, which leads to the host of a virtual machine."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Not every kernel has the family.
GUEST = Guest(
    Layer.SECCOMP, strict="EPERM", control="success or EAFNOSUPPORT", without={"seccomp": "success or EAFNOSUPPORT"}
)


@reported
def main(_: Worker) -> None:
    """Make one."""
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
