"""Chooses the signal that the kernel sends when something arrives (F_SETSIG)."""

import fcntl
import signal
import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})

F_SETSIG = 10  # asm-generic/fcntl.h


@reported
def main(_: Worker) -> None:
    """Choose SIGKILL for a pair."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with left, right:
        fcntl.fcntl(left, F_SETSIG, signal.SIGKILL)
