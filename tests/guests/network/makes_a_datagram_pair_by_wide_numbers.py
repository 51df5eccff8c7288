"""Makes a datagram pair by numbers whose upper halves, which the kernel drops, are to get past the filter."""

import ctypes
import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Ask for it with one bit too many in family, type and protocol."""
    wide = 1 << 32
    call("socketpair", wide | socket.AF_UNIX, wide | socket.SOCK_DGRAM, wide, ctypes.create_string_buffer(8))
