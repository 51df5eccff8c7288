"""One packet with descriptors, out or in: the only place of SCM_RIGHTS, and of waiting.

One sendmsg a packet, one recvmsg a packet: SCM_RIGHTS must not part from its header. What needs neither, `imc.py` sends
and receives itself, with the flags that stand here, and comes here when it has to wait.

The open file of a socket may be shared with a process that wishes us ill, and its O_NONBLOCK, SO_RCVTIMEO and
SO_SNDTIMEO with it. So EAGAIN means "not now" to us only if we asked for it; else we wait and try again. EINTR
never gets here: Python repeats the call itself (PEP 475).

Everything here raises the kernel's own OSError; what it means for a caller of imc_* is decided in `imc.py` and
`protocols/`.
"""

import _socket
import errno
import fcntl
import mmap
import os
import select
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from struct import Struct, pack, unpack, unpack_from
from typing import Any, Final, NamedTuple

from sandbox.abi import KERNEL_DESCRIPTORS_MAX
from sandbox.descriptors import over

# Plain ints: the enums of `socket` cost twenty times as much to combine.
_AF_UNIX: Final = int(_socket.AF_UNIX)
_SOCK_SEQPACKET: Final = int(_socket.SOCK_SEQPACKET)
SEND: Final = int(_socket.MSG_NOSIGNAL)
SEND_NOW: Final = int(_socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT)
RECEIVE: Final = int(_socket.MSG_CMSG_CLOEXEC)
RECEIVE_NOW: Final = int(_socket.MSG_CMSG_CLOEXEC | _socket.MSG_DONTWAIT)
# What the kernel answers where it had to cut nothing off: that it was told so.
WHOLE: Final = int(_socket.MSG_CMSG_CLOEXEC)
TRUNCATED: Final = int(_socket.MSG_TRUNC)
CONTROL_TRUNCATED: Final = int(_socket.MSG_CTRUNC)
_SOL_SOCKET: Final = int(_socket.SOL_SOCKET)
_SCM_RIGHTS: Final = int(_socket.SCM_RIGHTS)
_SO_LINGER: Final = int(_socket.SO_LINGER)
_NO_LINGER: Final = pack("ii", 1, 0)
_SCM_CREDENTIALS: Final = int(_socket.SCM_CREDENTIALS)
_SCM_PIDFD: Final = 4  # linux/socket.h; Python has no name for it
_FIONREAD: Final = 0x541B  # asm-generic/ioctls.h

# SCM_RIGHTS at its fullest, and what else a co-holder can make the kernel deliver with every packet
# (credentials, a pidfd, a security label, timestamps), with room to spare.
CONTROL_ROOM: Final = _socket.CMSG_SPACE(KERNEL_DESCRIPTORS_MAX * 4) + 1024

_BACK_OFF_FIRST: Final = 0.001
_BACK_OFF_LONGEST: Final = 0.05


# Size, control messages, MSG_* flags, the sender's name; its fds are nobody's yet.
RawPacket = tuple[int, list[tuple[int, int, bytes]], int, Any]


class Packet(NamedTuple):
    """What one recvmsg brought: `size` bytes in the caller's buffer, and `fds`, which the caller must close.

    `truncated`: the packet was longer than the buffer. `control_truncated`: the kernel dropped descriptors (those
    that came are closed, `fds` is empty). `with_control`: some control message came along, of whatever kind.
    `sender`: the process that the kernel says sent it, if it was asked to tell (SO_PASSCRED), or 0.
    """

    size: int
    fds: tuple[int, ...]
    truncated: bool
    control_truncated: bool
    with_control: bool
    sender: int


def seqpacket_pair() -> tuple[int, int]:
    """Return two connected AF_UNIX SEQPACKET fds, close-on-exec, owned by the caller. Raises OSError."""
    left, right = _socket.socketpair(_AF_UNIX, _SOCK_SEQPACKET)
    return left.detach(), right.detach()


def seqpacket_sockets() -> tuple[_socket.socket, _socket.socket]:
    """Return such a pair as sockets like those that `over` returns. Raises OSError."""
    left, right = _socket.socketpair(_AF_UNIX, _SOCK_SEQPACKET)
    if _socket.getdefaulttimeout() is None:
        # Python does not poll these either.
        return left, right
    return over(left.detach()), over(right.detach())


@cache
def _numbers(count: int) -> Struct:
    """Return how so many fds lie in SCM_RIGHTS."""
    return Struct(f"{count}i")


def discard(fds: Iterable[int]) -> None:
    """Close fds that a stranger sent and nobody wants; what is -1 was closed already.

    A TCP socket with unsent data and SO_LINGER would hold whoever closes it last for as long as its sender chose: these
    will not. One that lies in the queue of one of these may; who cannot wait has harness/undertaker.py.
    """
    for fd in (fd for fd in fds if fd >= 0):
        # What is no socket does not linger, and what could not be closed is closed all the same.
        with suppress(OSError):
            sock = over(fd)
            try:
                sock.setsockopt(_SOL_SOCKET, _SO_LINGER, _NO_LINGER)
            finally:
                sock.detach()
        with suppress(OSError):
            os.close(fd)


def send_packet(
    sock: _socket.socket,
    buffers: Sequence[bytes | memoryview],
    fds: Sequence[int] = (),
    *,
    nonblock: bool = False,
    address: bytes | None = None,
    deadline: float | None = None,
) -> int:
    """Send one packet and return its size. `fds` are borrowed; `deadline` is by time.monotonic().

    Raises BlockingIOError if `nonblock` and the queue is full, TimeoutError past the deadline, and OSError.
    """
    control = ((_SOL_SOCKET, _SCM_RIGHTS, _numbers(len(fds)).pack(*fds)),) if fds else ()
    flags = SEND_NOW if nonblock or deadline is not None else SEND
    pause = 0.0
    while True:
        try:
            return sock.sendmsg(buffers, control, flags, address)
        except BlockingIOError:
            if nonblock:
                raise
        wait_until(sock, select.POLLOUT, deadline)
        # A datagram socket polls as writable while its *target's* queue is full: no event tells when that ends.
        time.sleep(pause)
        pause = min(max(pause * 2, _BACK_OFF_FIRST), _BACK_OFF_LONGEST)


def receive_packet(
    sock: _socket.socket,
    buffer: bytearray | memoryview,
    *,
    nonblock: bool = False,
    discard: Callable[[Iterable[int]], None] = discard,
) -> Packet:
    """Receive one packet into `buffer`. Raises BlockingIOError if `nonblock` and none is there, and OSError."""
    return packet_of(receive_raw(sock, (buffer,), nonblock=nonblock), discard)


def receive_raw(
    sock: _socket.socket, buffers: Sequence[bytearray | memoryview | mmap.mmap], *, nonblock: bool = False
) -> RawPacket:
    """Receive one packet, and return it as the kernel tells of it: `packet_of` makes a Packet of that.

    Raises BlockingIOError if `nonblock` and none is there, and OSError.
    """
    flags = RECEIVE_NOW if nonblock else RECEIVE
    while True:
        try:
            return sock.recvmsg_into(buffers, CONTROL_ROOM, flags)
        except BlockingIOError:
            if nonblock:
                raise
        wait_until(sock, select.POLLIN, None)


def packet_of(raw: RawPacket, discard: Callable[[Iterable[int]], None] = discard) -> Packet:
    """Return what was received, the fds being the caller's."""
    size, control, answer, _ = raw
    fds = delivered(control)
    lost = bool(answer & CONTROL_TRUNCATED)
    if lost:
        discard(fds)
        fds = []
    return Packet(size, tuple(fds), bool(answer & TRUNCATED), lost, bool(control), sender_of(control))


def delivered(control: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """Return the fds of SCM_RIGHTS, which the caller must close.

    A pidfd that a co-holder's SO_PASSPIDFD made the kernel install is closed.
    """
    fds: list[int] = []
    for level, kind, data in control:
        if kind == _SCM_RIGHTS and level == _SOL_SOCKET:
            fds += _numbers(len(data) // 4).unpack_from(data)
        elif kind == _SCM_PIDFD and level == _SOL_SOCKET:
            discard(fd for fd in unpack("i", data) if fd >= 0)
    return fds


def sender_of(control: Iterable[tuple[int, int, bytes]]) -> int:
    """Return the process that the kernel says sent it, if it was asked to tell (SO_PASSCRED), or 0."""
    for level, kind, data in control:
        if kind == _SCM_CREDENTIALS and level == _SOL_SOCKET:
            pid: int = unpack_from("i", data)[0]
            return pid
    return 0


def accept_connection(listener: _socket.socket) -> int:
    """Wait for a connection and return its fd, close-on-exec, owned by the caller. Raises OSError."""
    while True:
        try:
            fd: int = listener._accept()[0]  # type: ignore[attr-defined]  # noqa: SLF001 - socket.accept() is made of it
        except BlockingIOError:
            wait_until(listener, select.POLLIN, None)
        else:
            return fd


def has_ended(sock: _socket.socket) -> bool:
    """Say whether a packet of no bytes and without a control message was the end of the stream, not an empty packet.

    On a socket with SO_PASSCRED it was: there a packet brings a control message, the end none. Elsewhere it is the end
    only if the peer has hung up and nothing lies behind it in the queue.
    """
    poller = select.poll()
    poller.register(sock, select.POLLRDHUP)
    return bool(poller.poll(0)) and fcntl.ioctl(sock, _FIONREAD, bytes(4)) == bytes(4)


def wait_until(sock: _socket.socket, event: int, deadline: float | None) -> None:
    """Wait for `event` or a hang-up. Raises TimeoutError past the deadline (time.monotonic())."""
    poller = select.poll()
    poller.register(sock, event)
    if not poller.poll(None if deadline is None else milliseconds_until(deadline)):
        raise TimeoutError(errno.ETIMEDOUT, "the deadline passed")


def milliseconds_until(deadline: float) -> float:
    """Return how long poll() may wait, in milliseconds, never negative (which would be for ever)."""
    return max(0.0, (deadline - time.monotonic()) * 1000)
