"""The message that carries one end of a fresh pair to a server: what three of the protocols have in common."""

import _socket
import errno
import os
from collections.abc import Callable, Collection, Iterable

from sandbox.descriptors import ConnectedSocket, identity_of
from sandbox.errors import EndOfStream, ImcError, MalformedMessage
from sandbox.transport import (
    CONTROL_TRUNCATED,
    TRUNCATED,
    delivered,
    discard,
    has_ended,
    receive_raw,
    send_packet,
    sender_of,
    seqpacket_sockets,
)
from sandbox.vetting import MESSAGE_TYPES, connected_over


def offer_connection(
    sock: _socket.socket | None, message: bytes, *, address: bytes | None = None, deadline: float | None = None
) -> ConnectedSocket:
    """Send `message` and one end of a fresh pair over `sock` (borrowed), and return the other end.

    Waits while the server's queue is full. Raises OSError: TimeoutError past the deadline, EMFILE, EPIPE, ENOTSOCK for
    an address that is no socket, …
    """
    if sock is None:
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    theirs, ours = seqpacket_sockets()
    try:
        send_packet(sock, (message,), (theirs.fileno(),), address=address, deadline=deadline)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ConnectedSocket.holding(ours)


def take_connection(
    sock: _socket.socket,
    message: bytes,
    *,
    kept_out: Collection[str] = (),
    nonblock: bool = False,
    discard: Callable[[Iterable[int]], None] = discard,
) -> ConnectedSocket:
    """Receive exactly `message` and one socket that can carry messages over `sock` (borrowed), and return it.

    The sockets whose identity is in `kept_out` are the receiver's own, and no connections. Raises EndOfStream where the
    senders are gone, MalformedMessage for anything else that arrives, whose descriptors are discarded, ImcError(EIO)
    where no descriptor was left to deliver it, BlockingIOError if `nonblock`, and OSError.
    """
    # On SEQPACKET and DGRAM a longer message shows as truncated; on STREAM the rest would be the next message.
    buffer = bytearray(len(message) or 1)
    size, control, answer, _ = receive_raw(sock, (buffer,), nonblock=nonblock)
    fds = delivered(control)
    try:
        if answer & CONTROL_TRUNCATED:
            raise ImcError(errno.EIO, "a connection was lost: no descriptor was free for it")
        if size == 0 and message and not control and has_ended(sock):
            raise EndOfStream("every SocketAddress was closed")
        if buffer[:size] != message or answer & TRUNCATED:
            raise MalformedMessage(f"a connect message that is not exactly {message!r}")
        if len(fds) != 1:
            raise MalformedMessage(f"a connect message with {len(fds)} descriptors, not 1")
        if kept_out and identity_of(fds[0]) in kept_out:
            raise MalformedMessage("a connection that is one of the receiver's own sockets")
        return ConnectedSocket.holding(connected_over(fds[0], "connection", MESSAGE_TYPES))
    except BaseException as error:
        discard(fds)
        if isinstance(error, MalformedMessage):
            error.sender = sender_of(control)
        raise
