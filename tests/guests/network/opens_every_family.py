"""Opens a socket of every family and type that the kernel may have."""

import itertools
import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, outcome_of, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})

FAMILIES = range(64)
TYPES = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)


@reported
def main(_: Worker) -> str:
    """Return success if there was one, or all the ways in which there was none."""

    def opened(family: int, kind: int) -> str:
        return outcome_of(lambda: socket.socket(family, kind).close())

    found = {opened(family, kind) for family, kind in itertools.product(FAMILIES, TYPES)}
    return "success" if "success" in found else " ".join(sorted(found))
