"""What a received fd must be, as far as the kernel can see it.

The seed: "We assume that the FD that is sent to us behaves sanely." We look instead. The kernel cannot tell the
three kinds of SEQPACKET pair apart; there the tag decides. Where a function here raises, its fd is still the caller's.
"""

import _socket
import fcntl
import os
import stat
from typing import Final

from sandbox.descriptors import over
from sandbox.errors import MalformedMessage

_SOL_SOCKET: Final = int(_socket.SOL_SOCKET)
_SO_TYPE: Final = int(_socket.SO_TYPE)


_NAMES: Final = (str, bytes)
# What may be a SocketAddress: NaCl's pairs are SEQPACKET, the seed's STREAM. And what carries messages.
ADDRESS_TYPES: Final = (int(_socket.SOCK_SEQPACKET), int(_socket.SOCK_STREAM))
MESSAGE_TYPES: Final = (int(_socket.SOCK_SEQPACKET),)


def connected_over(fd: int, what: str, types: tuple[int, ...]) -> _socket.socket:
    """Return a socket over `fd`, which owns it from now on.

    Raises MalformedMessage, in which it is called `what`, unless it is a connected AF_UNIX socket of one of `types`.
    """
    try:
        sock = over(fd)
    except OSError as error:
        raise MalformedMessage(f"a {what} that is no connected socket: {error.strerror}") from None
    try:
        # A str or bytes says AF_UNIX and connected at once: a listener has no peer, and other families answer tuples.
        if type(sock.getpeername()) in _NAMES and sock.getsockopt(_SOL_SOCKET, _SO_TYPE) in types:
            return sock
    except OSError as error:
        sock.detach()
        raise MalformedMessage(f"a {what} that is no connected socket: {error.strerror}") from None
    sock.detach()
    raise MalformedMessage(f"a {what} that is no AF_UNIX socket, or one of the wrong type")


def require_host_file(fd: int) -> None:
    """Raise MalformedMessage unless `fd` is a regular file or a character device."""
    require_usable(fd, "host file")
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
        raise MalformedMessage("a host file that is neither a regular file nor a character device")


def require_memory(fd: int, size: int) -> None:
    """Raise MalformedMessage unless `fd` is a regular file of at least `size` bytes."""
    require_usable(fd, "SharedMemory")
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise MalformedMessage("a SharedMemory that is no regular file")
    if status.st_size < size:
        raise MalformedMessage(f"a SharedMemory of {size} bytes on a file of {status.st_size}")


def require_usable(fd: int, what: str) -> None:
    """Raise MalformedMessage where `fd` names a file and cannot be read or written (O_PATH)."""
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH:
        raise MalformedMessage(f"a {what} that is a mere name of a file (O_PATH)")
