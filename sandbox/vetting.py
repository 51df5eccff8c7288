"""What a received fd must be, as far as the kernel can see it.

The seed: "We assume that the FD that is sent to us behaves sanely." We look instead. The kernel cannot tell the
three kinds of SEQPACKET pair apart; there the tag decides. No function here takes ownership of its fd.
"""

import _socket
import fcntl
import os
import stat

from sandbox.descriptors import over
from sandbox.errors import MalformedMessage


def require_socket(fd: int, what: str, *types: int) -> None:
    """Raise MalformedMessage unless `fd` is a connected, not listening AF_UNIX socket of one of `types`."""
    try:
        found = _type_if_connected(fd)
    except OSError as error:
        raise MalformedMessage(f"a {what} that is no connected socket: {error.strerror}") from None
    if found not in types:
        raise MalformedMessage(f"a {what} that is no AF_UNIX socket, or one of the wrong type")


def _type_if_connected(fd: int) -> int | None:
    """Return SO_TYPE of a connected AF_UNIX socket, None for another family's. Raises OSError for anything else."""
    sock = over(fd)
    try:
        # A str or bytes says AF_UNIX and connected at once: a listener has no peer, and other families answer tuples.
        if not isinstance(sock.getpeername(), (str, bytes)):
            return None
        return sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_TYPE)
    finally:
        sock.detach()


def require_address(fd: int) -> None:
    """Raise MalformedMessage unless `fd` can be a SocketAddress: NaCl's pairs are SEQPACKET, the seed's STREAM."""
    require_socket(fd, "SocketAddress", _socket.SOCK_SEQPACKET, _socket.SOCK_STREAM)


def require_connection(fd: int, what: str) -> None:
    """Raise MalformedMessage unless `fd` can be one end of a pair that carries messages."""
    require_socket(fd, what, _socket.SOCK_SEQPACKET)


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
