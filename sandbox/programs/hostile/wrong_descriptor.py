"""Sends what is no connection where one is due: it is refused, and closed.

`args.kind` is what. Its BoundSocket is refused where it is no SEQPACKET pair; where it is one, the kernel cannot tell
it from a connection, and it harms nobody but its owner. Its facet and its control channel are refused as the
supervisor's own.
"""

import os
import select
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from sandbox.programs.hostile.means import attack
from sandbox.worker import Worker


def an_end(kind: socket.SocketKind) -> int:
    """Return one end of a pair whose other end is closed."""
    left, right = socket.socketpair(socket.AF_UNIX, kind)
    right.close()
    return left.detach()


def a_listener() -> int:
    """Return a socket that listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind("")
        sock.listen()
        return sock.detach()


def an_epoll() -> int:
    """Return an epoll."""
    with select.epoll() as epoll:
        return os.dup(epoll.fileno())


KINDS: Final[Mapping[str, Callable[[Worker], int]]] = {
    "file": lambda _: os.open("/proc/self/exe", os.O_RDONLY),
    "directory": lambda _: os.open("/", os.O_RDONLY | os.O_DIRECTORY),
    "proc": lambda _: os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY),
    "pipe": lambda _: os.pipe()[0],
    "memfd": lambda _: os.memfd_create("hostile"),
    "epoll": lambda _: an_epoll(),
    "pidfd": lambda _: os.pidfd_open(os.getpid()),
    "stream": lambda _: an_end(socket.SOCK_STREAM),
    "datagram": lambda _: an_end(socket.SOCK_DGRAM),
    "listener": lambda _: a_listener(),
    "internet": lambda _: socket.socket(socket.AF_INET, socket.SOCK_STREAM).detach(),
    "address": lambda worker: os.dup(worker.imports["victim"].fileno()),
    "bound_socket": lambda worker: os.dup(worker.bound_socket.fileno() if worker.bound_socket else -1),
    "control_channel": lambda worker: os.dup(worker.control_channel.fileno() if worker.control_channel else -1),
}


def main(worker: Worker) -> None:
    """Send it once."""
    with attack(worker) as victim:
        fd = KINDS[worker.args["kind"]](worker)
        # Over stream the kernel itself may object: to sockets that carry one another too deep.
        with suppress(OSError):
            victim.send(fds=[fd])
        os.close(fd)
