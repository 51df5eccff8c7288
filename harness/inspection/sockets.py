"""The AF_UNIX sockets of the network namespace, as the kernel tells of them (sock_diag(7), linux/unix_diag.h)."""

import _socket
import math
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from harness.hang import Part

NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
NLM_F_REQUEST_DUMP: Final = 0x301
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
SHOW_NAME_PEER_ICONS_RQLEN: Final = 0x1 | 0x4 | 0x8 | 0x10
ALL: Final = 0xFFFF_FFFF
UNIX_DIAG_NAME: Final = 0
UNIX_DIAG_PEER: Final = 2
UNIX_DIAG_ICONS: Final = 3
UNIX_DIAG_RQLEN: Final = 4
TCP_LISTEN: Final = 10

NLMSGHDR: Final = struct.Struct("=IHHII")
UNIX_DIAG_REQ: Final = struct.Struct("=BBHIIIII")
UNIX_DIAG_MSG: Final = struct.Struct("=BBBBIII")
NLATTR: Final = struct.Struct("=HH")
ANSWER_BYTES: Final = 256 * 1024
# A host with more sockets than that is not looked at to the end.
SOCKETS_MAX: Final = 1 << 16

TYPES: Final = {1: "STREAM", 2: "DGRAM", 5: "SEQPACKET"}


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """One socket. `name` is all of sun_path, `peer` the inode of the other end or 0, `queued` the bytes to be read.

    `unread` is what it sent and nobody has read, more than 0 even for a datagram without bytes. Of a listener, `queued`
    are the connections that nobody accepted yet, and `pending` the inodes of their clients.
    """

    inode: int
    type: str
    listening: bool = False
    name: bytes = b""
    peer: int = 0
    queued: int = 0
    unread: int = 0
    pending: tuple[int, ...] = ()


def unix_sockets(until: float = math.inf, unseen: set[Part] | None = None) -> dict[int, UnixSocket]:
    """Return all of them by inode, or those that can be read until then (monotonic), with a note in `unseen`.

    Raises OSError where the kernel cannot tell (CONFIG_UNIX_DIAG).
    """
    request = UNIX_DIAG_REQ.pack(_socket.AF_UNIX, 0, 0, ALL, 0, SHOW_NAME_PEER_ICONS_RQLEN, ALL, ALL)
    header = NLMSGHDR.pack(NLMSGHDR.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0)
    found: dict[int, UnixSocket] = {}
    sock = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, NETLINK_SOCK_DIAG)
    try:
        sock.sendto(header + request, (0, 0))
        while len(found) < SOCKETS_MAX and time.monotonic() < until:
            # A dump goes on when we read: its next part is there at once.
            for kind, payload in _messages(sock.recv(ANSWER_BYTES, int(_socket.MSG_DONTWAIT))):
                if kind == NLMSG_DONE:
                    return found
                if kind == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", payload)[0]
                    raise OSError(number, "sock_diag of AF_UNIX")
                unix_socket = socket_of(payload)
                found[unix_socket.inode] = unix_socket
    finally:
        sock.close()
    if unseen is not None:
        unseen.add(Part.SOCKETS)
    return found


def _messages(answer: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + NLMSGHDR.size <= len(answer):
        size, kind, *_ = NLMSGHDR.unpack_from(answer, at)
        yield kind, answer[at + NLMSGHDR.size : at + size]
        at += _aligned(max(size, NLMSGHDR.size))


def socket_of(payload: bytes) -> UnixSocket:
    """Return what one struct unix_diag_msg and its attributes tell."""
    _, kind, state, _, inode, _, _ = UNIX_DIAG_MSG.unpack_from(payload)
    attributes: dict[int, bytes] = {}
    at = UNIX_DIAG_MSG.size
    while at + NLATTR.size <= len(payload):
        size, number = NLATTR.unpack_from(payload, at)
        attributes[number] = payload[at + NLATTR.size : at + size]
        at += _aligned(max(size, NLATTR.size))
    queued, unread = struct.unpack_from("=II", attributes.get(UNIX_DIAG_RQLEN, bytes(8)))
    icons = attributes.get(UNIX_DIAG_ICONS, b"")
    return UnixSocket(
        inode=inode,
        type=TYPES.get(kind, str(kind)),
        listening=state == TCP_LISTEN,
        name=attributes.get(UNIX_DIAG_NAME, b""),
        peer=struct.unpack("=I", attributes.get(UNIX_DIAG_PEER, bytes(4)))[0],
        queued=queued,
        unread=0 if state == TCP_LISTEN else unread,
        pending=tuple(client for (client,) in struct.iter_unpack("=I", icons) if client),
    )


def _aligned(size: int) -> int:
    return (size + 3) & ~3
