"""The kinds of descriptor. Each owns its fd, and its type says what may be done with it.

    SocketAddress    imc_connect                            may be sent
    BoundSocket      imc_accept                             may not
    ConnectedSocket  imc_sendmsg, imc_recvmsg               may not; carries data and descriptors
    DataOnlySocket   imc_sendmsg, imc_recvmsg               may be sent; carries data alone
    SharedMemory     map                                    may be sent
    HostFile         read, write                            may be sent
    INVALID          nothing                                may be sent, arrives as itself

Adopting an fd is `ConnectedSocket(fd)`: from then on the object alone closes it, at `close()`, at the end of
a `with`, or when it is collected. `take()` gives the fd away. A closed descriptor's `fileno()` is -1.

A socket is held as a `_socket.socket` that was told SOCK_NONBLOCK about an fd that is not: so Python never
touches the flags of the open file, which other processes share, and never polls by itself. Whether a call
waits is decided per call, in `transport.py`.
"""

import _socket
import errno
import mmap
import os
import stat
from types import TracebackType
from typing import Final, Self

from sandbox.abi import QUOTA_ID_BYTES
from sandbox.errors import ImcError

# Without the look-up of `__new__` in each class, none of which has one.
_new: Final = object.__new__


class Descriptor:
    """An owned fd. Subclasses say what it is for."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        """Adopt `fd`, which belongs to this object from now on. Where adopting fails it stays the caller's."""
        self._fd = fd

    def fileno(self) -> int:
        """Return the fd, which stays this object's, or -1 once it is closed or taken."""
        return self._fd

    def take(self) -> int:
        """Give the fd away, and leave -1 behind: the caller closes it."""
        fd, self._fd = self._fd, -1
        return fd

    def close(self) -> None:
        """Close the fd. A second close does nothing."""
        fd = self.take()
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except AttributeError:
            # Adopting failed, and there is nothing to close.
            return

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.fileno()})"


class SocketDescriptor(Descriptor):
    """A descriptor that this process sends and receives on; `socket` is borrowed by `transport.py`."""

    __slots__ = ("socket",)

    def __init__(self, fd: int) -> None:
        self.socket = over(fd)

    @classmethod
    def holding(cls, sock: _socket.socket) -> Self:
        """Adopt a socket as `over` returns it, and its fd with it."""
        descriptor = _new(cls)
        descriptor.socket = sock
        return descriptor

    def fileno(self) -> int:
        """Return the fd, which stays this object's, or -1 once it is closed or taken."""
        return self.socket.fileno()

    def take(self) -> int:
        """Give the fd away, and leave -1 behind: the caller closes it."""
        return self.socket.detach()

    def close(self) -> None:
        """Close the fd. A second close does nothing."""
        self.socket.close()

    def identity(self) -> str:
        """Return what all duplicates of this socket have in common, to compare and to show."""
        return identity_of(self.fileno())


class SocketAddress(Descriptor):
    """The right to connect: one end of a pair, or a sealed memfd that holds a token's 28 bytes.

    `way` is the end of a pair as a socket, borrowed by whoever connects; None for a memfd.
    """

    __slots__ = ("way",)

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.way: _socket.socket | None
        try:
            self.way = over(fd)
        except (OSError, ValueError):
            self.way = None

    @classmethod
    def holding(cls, sock: _socket.socket) -> Self:
        """Adopt the end of a pair, as `over` returns it, and its fd with it."""
        address = _new(cls)
        address.way = sock
        return address

    def fileno(self) -> int:
        """Return the fd, which stays this object's, or -1 once it is closed or taken."""
        return self._fd if self.way is None else self.way.fileno()

    def take(self) -> int:
        """Give the fd away, and leave -1 behind: the caller closes it."""
        return super().take() if self.way is None else self.way.detach()

    def close(self) -> None:
        """Close the fd. A second close does nothing."""
        if self.way is None:
            super().close()
        else:
            self.way.close()

    def identity(self) -> str:
        """Return what all duplicates of this address have in common, to compare and to show."""
        status = os.fstat(self.fileno())
        if stat.S_ISREG(status.st_mode):
            return "token:" + os.pread(self.fileno(), 64, 0).rstrip(b"\0").decode("ascii", "backslashreplace")
        return identity_of(self.fileno())


class BoundSocket(SocketDescriptor):
    """The right to accept the connections that the holders of its SocketAddress make.

    `kept_out` are the identities of sockets that must not come as connections: its own SocketAddress, which would keep
    it from ever seeing the end.
    """

    __slots__ = ("kept_out",)

    def __init__(self, fd: int, address: SocketAddress | None = None) -> None:
        super().__init__(fd)
        self.kept_out = frozenset(() if address is None else (address.identity(),))


class ConnectedSocket(SocketDescriptor):
    """One end of a connection, for data and descriptors."""

    __slots__ = ()


class DataOnlySocket(SocketDescriptor):
    """One end of a pair that carries data alone and can therefore be sent itself."""

    __slots__ = ()


class SharedMemory(Descriptor):
    """Memory that several processes may map. `size` is in bytes, a multiple of 65536."""

    __slots__ = ("size",)

    def __init__(self, fd: int, size: int | None = None) -> None:
        """Adopt `fd`; without `size`, the length of the file."""
        self.size = os.fstat(fd).st_size if size is None else size
        super().__init__(fd)

    def map(self) -> mmap.mmap:
        """Return the memory, shared, readable and writable; the caller closes the map. Raises ImcError(EBADF)."""
        if self.fileno() < 0:
            raise ImcError(errno.EBADF, "the SharedMemory is closed")
        return mmap.mmap(self.fileno(), self.size)


class HostFile(Descriptor):
    """A host's file that was granted at start. `quota_id` is 16 bytes where a quota wrapper came along."""

    __slots__ = ("quota_id",)

    def __init__(self, fd: int, quota_id: bytes | None = None) -> None:
        if quota_id is not None and len(quota_id) != QUOTA_ID_BYTES:
            raise ValueError(f"a quota_id is {QUOTA_ID_BYTES} bytes")
        self.quota_id = quota_id
        super().__init__(fd)

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes at the shared file position; b"" at the end. Raises OSError."""
        return os.read(self.fileno(), size)

    def write(self, data: bytes) -> int:
        """Write at the shared file position and return how many bytes were taken. Raises OSError."""
        return os.write(self.fileno(), data)


class InvalidDescriptor(Descriptor):
    """The number -1, which may travel in a message and arrives as itself; so it equals -1."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(-1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InvalidDescriptor) or other == -1

    def __hash__(self) -> int:
        return hash(-1)

    def __repr__(self) -> str:
        return "INVALID"


INVALID: Final = InvalidDescriptor()


def identity_of(fd: int) -> str:
    """Return what all duplicates of a socket have in common."""
    return f"socket:[{os.fstat(fd).st_ino}]"


_UNIX: Final = int(_socket.AF_UNIX)
_NEITHER_POLLED_NOR_MADE_NON_BLOCKING: Final = int(_socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK)


def over(fd: int) -> _socket.socket:
    """Return a socket over `fd` that Python neither polls nor makes non-blocking; it owns the fd.

    The family and type are not asked of the kernel: nothing below this line reads them.
    """
    return _socket.socket(_UNIX, _NEITHER_POLLED_NOR_MADE_NON_BLOCKING, 0, fd)
