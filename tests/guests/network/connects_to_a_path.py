"""Connects to a socket in the file system."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp is the empty root, and behind that nothing: to connect is no right that Landlock is asked for.
# Its own uid is off as well, for the interpreter may lie where only root comes.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "ENOENT", "seccomp empty_root own_uid": "success"})


@reported
def main(worker: Worker) -> None:
    """Open a socket and connect."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(worker.args["folder"] + "/listener")
