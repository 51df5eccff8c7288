"""The replacement protocol: an address is one end of a socketpair, so connecting needs no name.

    server: client_fd, server_fd = socketpair()        -> SocketAddress(client_fd), BoundSocket(server_fd)
    accept: message, sock_fd1 = recvmsg(server_fd)     message == "c"
    client: sock_fd1, sock_fd2 = socketpair()
            sendmsg(client_fd, "c", [sock_fd1]); close(sock_fd1)

Connecting succeeds before anybody accepts; `acknowledged` is the protocol for those who must know. Nothing here calls
bind, listen, connect or accept, which is the point: a sandbox may deny them all.
"""

import _socket
from typing import ClassVar

from sandbox.abi import CONNECT
from sandbox.descriptors import BoundSocket, ConnectedSocket, SocketAddress
from sandbox.protocols.connect_message import offer_connection, take_connection
from sandbox.protocols.interface import AddressForm, Options
from sandbox.transport import seqpacket_pair


class SocketpairProtocol:
    """socketpair alone."""

    name: ClassVar[str] = "socketpair"
    address_form: ClassVar[AddressForm] = AddressForm.DESCRIPTOR
    layouts: ClassVar[tuple[str, ...]] = ("2013", "recent")
    connect_message: ClassVar[bytes | None] = CONNECT
    calls: ClassVar[frozenset[str]] = frozenset({"socketpair", "setsockopt"})

    def __init__(self, options: Options) -> None:
        """Nothing to choose."""

    def make_bound_socket(self) -> tuple[BoundSocket, SocketAddress]:
        """Return both ends of a fresh pair. Raises OSError(EMFILE)."""
        client_fd, server_fd = seqpacket_pair()
        address = SocketAddress(client_fd)
        bound = BoundSocket(server_fd, address)
        # Tells a zero-length packet, which brings credentials, from the end of the stream, which does not.
        bound.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        return bound, address

    def accept(self, bound: BoundSocket) -> ConnectedSocket:
        """Wait for the next connect message. Raises EndOfStream, MalformedMessage."""
        return take_connection(bound.socket, CONNECT, kept_out=bound.kept_out)

    def connect(self, address: SocketAddress) -> ConnectedSocket:
        """Send one end of a fresh pair over `address`, return the other. Raises OSError(EPIPE, EMFILE)."""
        return offer_connection(address.way, CONNECT)
