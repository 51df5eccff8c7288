"""What a protocol is: three operations, and what it needs to perform them."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Protocol

from sandbox.abi import BACKLOG
from sandbox.descriptors import BoundSocket, ConnectedSocket, SocketAddress


class AddressForm(Enum):
    """What a SocketAddress is made of; both are fds in the end (a token lies in a sealed memfd)."""

    TOKEN = "token"  # noqa: S105 - a form, not a secret
    DESCRIPTOR = "descriptor"


@dataclass(frozen=True, slots=True)
class Options:
    """What a program may choose about its connections; each protocol takes what concerns it.

    global_fd         datagram: the BoundSocket that connect messages are sent from, borrowed
    backlog           stream: listen()'s queue
    connect_deadline  acknowledged: seconds to wait for the acknowledgement; None is for ever
    choose_token      stream and datagram: returns 27 letters and digits, str or bytes
    """

    choose_token: Callable[[], str | bytes]
    global_fd: BoundSocket | None = None
    backlog: int = BACKLOG
    connect_deadline: float | None = 5.0


class ConnectionProtocol(Protocol):
    """How a connection comes about. Every operation exists in every protocol.

    `calls` are the system calls it needs beyond sendto, sendmsg, recvmsg, poll and close, so that a sandbox knows what
    it cannot take away; `layouts` are the wire layouts that it may go with, the usual one first; `connect_message` is
    what a connection is sent along with, so that it can be forwarded, or None where the kernel itself connects.
    """

    name: ClassVar[str]
    address_form: ClassVar[AddressForm]
    layouts: ClassVar[tuple[str, ...]]
    connect_message: ClassVar[bytes | None]
    calls: ClassVar[frozenset[str]]

    def __init__(self, options: Options) -> None: ...

    def make_bound_socket(self) -> tuple[BoundSocket, SocketAddress]:
        """Return a fresh BoundSocket and its SocketAddress, owned by the caller.

        Raises OSError(EMFILE) when out of descriptors.
        """
        ...

    def accept(self, bound: BoundSocket) -> ConnectedSocket:
        """Wait for the next connection to `bound` (borrowed).

        Raises EndOfStream when nobody holds the address any more (where the protocol can tell), MalformedMessage for
        one bad connect message, whose descriptors are closed and after which the next call may succeed.
        """
        ...

    def connect(self, address: SocketAddress) -> ConnectedSocket:
        """Connect to the holder of the BoundSocket of `address` (borrowed).

        Raises OSError(EMFILE) when out of descriptors, OSError of any other number where it cannot be done.
        """
        ...
