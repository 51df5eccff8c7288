"""Makes a pair of an allowed type, but of another family."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Few families have pairs: unconfined, it is the kernel that answers (EOPNOTSUPP, which is the same number).
GUEST = Guest(Layer.SECCOMP, strict="EPERM", control="ENOTSUP", without={"seccomp": "ENOTSUP"})


@reported
def main(_: Worker) -> None:
    """Ask for one of IP."""
    socket.socketpair(socket.AF_INET, socket.SOCK_STREAM)
