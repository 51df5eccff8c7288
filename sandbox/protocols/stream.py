"""What the seed's author thought the protocol was: a listening socket under a random name.

    server: fd = socket(); bind(fd, token); listen(fd, backlog)   -> SocketAddress(token), BoundSocket(fd)
    accept: sock_fd1 = accept(fd)
    client: sock_fd2 = socket(); connect(sock_fd2, token)

IMC messages carry no length, so the sockets are SEQPACKET, with the same queue and errors as STREAM. Whoever learns
the token may connect, and an address keeps nothing alive: accept never learns that all its holders are gone.
"""

import _socket
from contextlib import closing
from typing import ClassVar

from sandbox.descriptors import BoundSocket, ConnectedSocket, SocketAddress
from sandbox.protocols.interface import AddressForm, Options
from sandbox.protocols.tokens import abstract_name, address_of_token, bind_to_fresh_token, token_of_address
from sandbox.transport import accept_connection


class StreamProtocol:
    """socket, bind, listen, accept and connect, as a host offers them."""

    name: ClassVar[str] = "stream"
    address_form: ClassVar[AddressForm] = AddressForm.TOKEN
    layouts: ClassVar[tuple[str, ...]] = ("2010",)
    connect_message: ClassVar[bytes | None] = None
    calls: ClassVar[frozenset[str]] = frozenset(
        {"socket", "bind", "listen", "accept4", "connect", "memfd_create", "fcntl"}
    )

    def __init__(self, options: Options) -> None:
        self._choose_token = options.choose_token
        self._backlog = options.backlog

    def make_bound_socket(self) -> tuple[BoundSocket, SocketAddress]:
        """Bind to a fresh token and listen. Raises OSError(EADDRINUSE, EMFILE)."""
        with closing(_socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)) as sock:
            token = bind_to_fresh_token(sock, self._choose_token)
            sock.listen(self._backlog)
            address = address_of_token(token)
            return BoundSocket(sock.detach()), address

    def accept(self, bound: BoundSocket) -> ConnectedSocket:
        """Wait for the next connection. Raises OSError(EMFILE), and then the connection still waits."""
        return ConnectedSocket(accept_connection(bound.socket))

    def connect(self, address: SocketAddress) -> ConnectedSocket:
        """Connect to the token; waits while the backlog is full. Raises OSError(ECONNREFUSED, EMFILE)."""
        name = abstract_name(token_of_address(address))
        connection = ConnectedSocket(_socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET).detach())
        try:
            connect_uninterrupted(connection, name)
        except BaseException:
            connection.close()
            raise
        return connection


def connect_uninterrupted(connection: ConnectedSocket, name: bytes) -> None:
    """Connect, again after each signal: on AF_UNIX an interrupted connect has not begun anything.

    (Python's own retry waits for SO_ERROR instead and would report success for a socket that is not connected.)
    """
    while True:
        try:
            connection.socket.connect(name)
        except InterruptedError:
            continue
        return
