"""Tries to escape while it is imported: all layers are on before the first line of a program is read."""

import os
import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, outcome_of, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM ENOENT", control="success success")


def open_a_socket() -> None:
    """Make one to the network."""
    socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()


FOUND = " ".join((outcome_of(open_a_socket), outcome_of(lambda: os.close(os.open("/etc/passwd", os.O_RDONLY)))))


@reported
def main(_: Worker) -> str:
    """Tell what was had by then."""
    return FOUND
