"""Makes a socket in the file system, under which others could reach it."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "ENOENT", "seccomp empty_root own_uid": "EACCES"})


@reported
def main(worker: Worker) -> None:
    """Bind one end of a pair."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        left.bind(worker.args["scratch"] + "/bound")
