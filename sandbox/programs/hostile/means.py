"""What the hostile ones have in common: when they begin, what they say at the end, and packets of any shape."""

import _socket
import os
import socket
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from sandbox.abi import CONNECT
from sandbox.descriptors import ConnectedSocket, SocketAddress
from sandbox.errors import ImcError
from sandbox.protocols import abstract_name, token_of_address
from sandbox.transport import seqpacket_pair
from sandbox.worker import Worker

DONTWAIT: Final = socket.MSG_DONTWAIT
SO_PASSPIDFD: Final = 76  # asm-generic/socket.h


class Target:
    """A SocketAddress, and what can be done to it beside connecting as one should."""

    def __init__(self, worker: Worker, address: SocketAddress) -> None:
        self.address = address
        self.protocol = worker.imc.protocol
        self._worker = worker
        # What goes where a connection is due, as the protocol has it; of the stream protocol, what a client says first.
        self.message = b"" if self.protocol == "datagram" else CONNECT

    def connect(self) -> ConnectedSocket:
        """Connect as one should."""
        return self._worker.imc.imc_connect(self.address)

    def send(self, data: bytes | None = None, fds: Sequence[int] = (), flags: int = 0) -> None:
        """Send `data` and `fds` (borrowed) where a connect message is due; the right data unless said. Raises OSError.

        There are no connect messages over stream: there this connects, sends, and leaves.
        """
        data = self.message if data is None else data
        match self.protocol:
            case "stream":
                with self.connect() as connection:
                    send_raw(connection.socket, data, fds, flags)
            case "datagram":
                assert self._worker.bound_socket is not None  # noqa: S101 - the global descriptor
                name = abstract_name(token_of_address(self.address))
                send_raw(self._worker.bound_socket.socket, data, fds, flags, name)
            case _:
                with lent(self.address.fileno()) as sock:
                    send_raw(sock, data, fds, flags)


@contextmanager
def attack(worker: Worker) -> Iterator[Target]:
    """Lend what is granted of the victim, once the innocent one is at it; then say that the worst is done, and stay."""
    assert worker.address is not None  # noqa: S101 - it has something to grant
    assert worker.imports["start"].fileno() >= 0  # noqa: S101 - to ask for it is to wait for it
    yield Target(worker, worker.imports["victim"])
    # Where its user has too many descriptors in flight it cannot, and whoever waits for it fails for the same reason.
    with suppress(ImcError):
        worker.export("worst", worker.address)
    stay(worker)


def stay(worker: Worker) -> None:
    """Hold whatever there is until the end of the run."""
    while worker.next_step() is not None:
        pass


def send_raw(
    sock: _socket.socket, data: bytes, fds: Sequence[int] = (), flags: int = 0, address: bytes | None = None
) -> None:
    """Send one packet of any shape. Raises OSError."""
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
    sock.sendmsg([data], control, flags | socket.MSG_NOSIGNAL, address)


@contextmanager
def ends() -> Iterator[tuple[int, int]]:
    """Lend both ends of a pair, of which either would do as a connection."""
    left, right = seqpacket_pair()
    try:
        yield left, right
    finally:
        os.close(left)
        os.close(right)


@contextmanager
def lent(fd: int) -> Iterator[socket.socket]:
    """Lend a socket over a duplicate of `fd`."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        yield sock


def offer(victim: Target) -> ConnectedSocket:
    """Connect without waiting for anybody, and return our end, of which nothing was read."""
    if victim.protocol == "stream":
        return victim.connect()
    theirs, ours = seqpacket_pair()
    victim.send(fds=[theirs])
    os.close(theirs)
    return ConnectedSocket(ours)
