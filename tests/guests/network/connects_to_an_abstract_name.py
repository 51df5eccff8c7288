"""Connects to a name that is in no file system."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp: in the run's network there is no such name, and where there is, Landlock's scope refuses it.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={
        "seccomp": "ECONNREFUSED",
        "seccomp network_namespace": "EPERM",
        "seccomp network_namespace landlock": "success",
    },
)


@reported
def main(worker: Worker) -> None:
    """Open a socket and connect."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect("\0" + worker.args["name"])
