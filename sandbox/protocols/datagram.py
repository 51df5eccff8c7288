"""The protocol that Native Client used on Linux until July 2010: a datagram to a token, through a global descriptor.

    server: fd = socket(DGRAM); bind(fd, token)                   -> SocketAddress(token), BoundSocket(fd)
    accept: sock_fd1 = recvmsg(fd)
    client: sock_fd1, sock_fd2 = socketpair()
            sendmsg(global_fd, "", [sock_fd1], address=token); close(sock_fd1)

The global descriptor is the BoundSocket of the process's own service port, which exists only if `sel_ldr` was started
with -X; a process without one cannot connect. Connecting succeeds before anybody accepts.
"""

import _socket
import errno
from contextlib import closing
from typing import ClassVar

from sandbox.descriptors import BoundSocket, ConnectedSocket, SocketAddress
from sandbox.errors import ImcError
from sandbox.protocols.connect_message import offer_connection, take_connection
from sandbox.protocols.interface import AddressForm, Options
from sandbox.protocols.tokens import abstract_name, address_of_token, bind_to_fresh_token, token_of_address


class DatagramProtocol:
    """socket and bind for a server; for a client, nothing but the descriptor that it was started with."""

    name: ClassVar[str] = "datagram"
    address_form: ClassVar[AddressForm] = AddressForm.TOKEN
    layouts: ClassVar[tuple[str, ...]] = ("2010",)
    connect_message: ClassVar[bytes | None] = b""
    calls: ClassVar[frozenset[str]] = frozenset({"socket", "bind", "socketpair", "memfd_create", "fcntl"})

    def __init__(self, options: Options) -> None:
        self._choose_token = options.choose_token
        self._global_fd = options.global_fd

    def make_bound_socket(self) -> tuple[BoundSocket, SocketAddress]:
        """Bind to a fresh token. Raises OSError(EADDRINUSE, EMFILE)."""
        with closing(_socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)) as sock:
            address = address_of_token(bind_to_fresh_token(sock, self._choose_token))
            return BoundSocket(sock.detach()), address

    def accept(self, bound: BoundSocket) -> ConnectedSocket:
        """Wait for the next datagram. Raises MalformedMessage for any that is not just one SEQPACKET socket."""
        return take_connection(bound.socket, b"")

    def connect(self, address: SocketAddress) -> ConnectedSocket:
        """Send one end of a fresh pair to the token, return the other. Raises ImcError(EIO), OSError(EMFILE)."""
        if self._global_fd is None:
            raise ImcError(errno.EIO, "no global descriptor: this process was started without -X")
        name = abstract_name(token_of_address(address))
        return offer_connection(self._global_fd.socket, b"", address=name)
