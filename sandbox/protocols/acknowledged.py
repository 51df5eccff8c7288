"""The replacement protocol with an answer to the seed's "we don't know if our connection request was received".

    server: client_fd, server_fd = socketpair()        -> SocketAddress(client_fd), BoundSocket(server_fd)
    accept: message, sock_fd1 = recvmsg(server_fd)     message == "c"
            sendmsg(sock_fd1, "a")
    client: sock_fd1, sock_fd2 = socketpair()
            sendmsg(client_fd, "c", [sock_fd1]); close(sock_fd1)
            recvmsg(sock_fd2)                          == "a"

The promise is one-way: connect returned, therefore it was accepted. A server that is dead or never accepts is an
error for the client, within its deadline.
"""

import errno
import select
import time
from typing import ClassVar

from sandbox.abi import ACKNOWLEDGE, CONNECT
from sandbox.descriptors import BoundSocket, ConnectedSocket, SocketAddress
from sandbox.errors import ImcError, MalformedMessage
from sandbox.protocols.connect_message import offer_connection
from sandbox.protocols.interface import AddressForm, Options
from sandbox.protocols.socketpair import SocketpairProtocol
from sandbox.transport import discard, milliseconds_until, receive_packet, send_packet


class AcknowledgedProtocol:
    """socketpair alone, and one message more a connection."""

    name: ClassVar[str] = "acknowledged"
    address_form: ClassVar[AddressForm] = AddressForm.DESCRIPTOR
    layouts: ClassVar[tuple[str, ...]] = ("2013", "recent")
    connect_message: ClassVar[bytes | None] = CONNECT
    calls: ClassVar[frozenset[str]] = frozenset({"socketpair", "setsockopt"})

    def __init__(self, options: Options) -> None:
        self._socketpair = SocketpairProtocol(options)
        self._connect_deadline = options.connect_deadline

    def make_bound_socket(self) -> tuple[BoundSocket, SocketAddress]:
        """Return both ends of a fresh pair, as `socketpair` does. Raises OSError(EMFILE)."""
        return self._socketpair.make_bound_socket()

    def accept(self, bound: BoundSocket) -> ConnectedSocket:
        """Wait for a connection whose client still waits, and tell it. Raises EndOfStream, MalformedMessage."""
        while True:
            connection = self._socketpair.accept(bound)
            try:
                # Never wait for a client: one that left, or filled its own queue, loses its connection.
                send_packet(connection.socket, (ACKNOWLEDGE,), nonblock=True)
            except OSError:
                connection.close()
                continue
            return connection

    def connect(self, address: SocketAddress) -> ConnectedSocket:
        """Connect as `socketpair` does, then wait for the acknowledgement.

        Raises ImcError(ETIMEDOUT) past the deadline, EIO where the server is gone, OSError(EPIPE, EMFILE).
        """
        deadline = None if self._connect_deadline is None else time.monotonic() + self._connect_deadline
        connection = offer_connection(address.way, CONNECT, deadline=deadline)
        try:
            await_acknowledgement(connection, address, deadline)
        except BaseException:
            connection.close()
            raise
        return connection


def await_acknowledgement(connection: ConnectedSocket, address: SocketAddress, deadline: float | None) -> None:
    """Wait until "a" arrives, watching the address for hang-up. Raises ImcError(ETIMEDOUT, EIO)."""
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    poller.register(address.fileno(), select.POLLRDHUP)
    if not poller.poll(None if deadline is None else milliseconds_until(deadline)):
        raise ImcError(errno.ETIMEDOUT, "nobody accepted the connection within the deadline")
    buffer = bytearray(len(ACKNOWLEDGE))
    try:
        packet = receive_packet(connection.socket, buffer, nonblock=True)
    except BlockingIOError:
        raise ImcError(errno.EIO, "every BoundSocket of the address was closed") from None
    discard(packet.fds)
    if packet.size == 0:
        raise ImcError(errno.EIO, "the server closed the connection without accepting it")
    if buffer != ACKNOWLEDGE or packet.truncated or packet.fds or packet.control_truncated:
        raise MalformedMessage("the server answered a connect message with something else than an acknowledgement")
