"""What a peer that does not use our library can do: raw packets, and descriptors of every kind."""

import array
import os
import select
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

from sandbox.descriptors import Descriptor, SocketAddress
from sandbox.protocols.tokens import abstract_name, token_of_address

SO_PASSPIDFD: Final = 76  # asm-generic/socket.h
PACKET_MAX: Final = 1 << 18


def raw(descriptor: Descriptor) -> socket.socket:
    """Return a Python socket over a duplicate of `descriptor`, as a co-holder of its open file has."""
    return socket.socket(fileno=os.dup(descriptor.fileno()))


def seqpacket_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_raw(
    sock: socket.socket, data: bytes, fds: Sequence[int] = (), address: bytes | None = None, flags: int = 0
) -> None:
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], control, flags, address)


def send_connect_message(
    protocol: str, address: SocketAddress, data: bytes, fds: Sequence[int] = (), flags: int = 0
) -> None:
    """Send something like a connect message, as whoever holds the address can. Over stream: connect, send and leave."""
    if protocol not in ("stream", "datagram"):
        with raw(address) as sock:
            send_raw(sock, data, fds, flags=flags)
        return
    name = abstract_name(token_of_address(address))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if protocol == "datagram" else socket.SOCK_SEQPACKET) as sock:
        sock.connect(name)
        send_raw(sock, data, fds, flags=flags)


class RawPacket(NamedTuple):
    data: bytes
    fds: list[int]


def receive_raw(sock: socket.socket) -> RawPacket:
    """Receive a whole packet; its fds are the caller's."""
    data, fds, flags, _ = socket.recv_fds(sock, PACKET_MAX, 253)
    assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
    return RawPacket(data, list(fds))


@contextmanager
def received_raw(sock: socket.socket) -> Iterator[RawPacket]:
    """Receive a whole packet, and close its fds afterwards."""
    packet = receive_raw(sock)
    try:
        yield packet
    finally:
        for fd in packet.fds:
            os.close(fd)


def _pair(kind: socket.SocketKind, stack: ExitStack) -> int:
    left, right = socket.socketpair(socket.AF_UNIX, kind)
    stack.enter_context(right)
    return left.detach()


def _listener(stack: ExitStack) -> int:
    sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    sock.bind("")  # the kernel chooses an abstract name
    sock.listen()
    return os.dup(sock.fileno())


def _pipe(stack: ExitStack) -> int:
    reading, writing = os.pipe()
    stack.callback(os.close, writing)
    return reading


def _file(_: ExitStack) -> int:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(100))
        file.flush()
        return os.dup(file.fileno())


def _memory(_: ExitStack) -> int:
    fd = os.memfd_create("test")
    os.ftruncate(fd, 65536)
    return fd


def _epoll(stack: ExitStack) -> int:
    return os.dup(stack.enter_context(select.epoll()).fileno())


FD_KINDS: Final[dict[str, Callable[[ExitStack], int]]] = {
    "seqpacket pair": lambda stack: _pair(socket.SOCK_SEQPACKET, stack),
    "stream pair": lambda stack: _pair(socket.SOCK_STREAM, stack),
    "datagram pair": lambda stack: _pair(socket.SOCK_DGRAM, stack),
    "listening socket": _listener,
    "unconnected socket": lambda _: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).detach(),
    "inet socket": lambda _: socket.socket(socket.AF_INET, socket.SOCK_STREAM).detach(),
    "netlink socket": lambda _: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).detach(),
    "file": _file,
    "memfd": _memory,
    "device": lambda _: os.open("/dev/null", os.O_RDWR),
    "directory": lambda _: os.open("/", os.O_RDONLY | os.O_DIRECTORY),
    "path": lambda _: os.open("/", os.O_PATH),
    "pipe": _pipe,
    "epoll": _epoll,
    "eventfd": lambda _: os.eventfd(0),
}


@contextmanager
def fds_of(*kinds: str) -> Iterator[list[int]]:
    """Lend one fd of each of these kinds."""
    with ExitStack() as stack:
        fds = []
        for kind in kinds:
            fds.append(FD_KINDS[kind](stack))
            stack.callback(os.close, fds[-1])
        yield fds
