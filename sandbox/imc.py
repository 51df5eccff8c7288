"""The seven imc_* calls of one process, answering as Native Client's descriptor library does.

The library is not a guard: it sits in the process that it would have to guard against. It refuses what Native Client
refuses, for honest programs; what arrives from another process is checked here because that one may be dishonest.
"""

import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from sandbox.abi import (
    BACKLOG,
    BUFFERS_MAX,
    DATA_TRUNCATED,
    DESCRIPTORS_MAX,
    DESCRIPTORS_TRUNCATED,
    MEMORY_PAGE,
    NONBLOCK,
    USER_BYTES_MAX,
)
from sandbox.descriptors import (
    INVALID,
    BoundSocket,
    ConnectedSocket,
    DataOnlySocket,
    Descriptor,
    HostFile,
    InvalidDescriptor,
    SharedMemory,
    SocketAddress,
)
from sandbox.errors import EndOfStream, ImcError, MalformedMessage
from sandbox.protocols import (
    PROTOCOLS,
    AddressForm,
    Options,
    address_of_token,
    choose_random_token,
    token_of_address,
)
from sandbox.transport import (
    CONTROL_ROOM,
    CONTROL_TRUNCATED,
    RECEIVE,
    RECEIVE_NOW,
    SEND,
    SEND_NOW,
    WHOLE,
    RawPacket,
    delivered,
    discard,
    has_ended,
    receive_raw,
    send_packet,
    seqpacket_sockets,
)
from sandbox.vetting import ADDRESS_TYPES, MESSAGE_TYPES, connected_over, require_host_file, require_memory
from sandbox.wire import (
    AREA_ALIGNMENT,
    HEADER_BYTES,
    HEADER_WITHOUT_DESCRIPTORS,
    LAYOUTS,
    RECEIVE_BYTES,
    Entry,
    Kind,
    decode,
    encode,
)

Buffer = bytes | bytearray | memoryview


class Message(NamedTuple):
    """What imc_recvmsg received. The descriptors are the caller's; flags: 1 data, 2 descriptors were truncated."""

    data: bytes
    descriptors: tuple[Descriptor, ...]
    flags: int


class Told(NamedTuple):
    """What the head of a message says: who adopts each descriptor, how many of them are fds, where the data begins.

    An adopter takes its fd from the front of the list that it is given once it was vetted. It raises MalformedMessage,
    and OSError(EMFILE) where a token needs an fd to lie in.
    """

    adopters: tuple[Callable[[list[int]], Descriptor], ...]
    fds: int
    data_offset: int


class Imc:
    """One process's IMC system calls, over one connection protocol and one wire layout.

    protocol          "stream", "datagram", "socketpair" or "acknowledged"
    layout            "2010" for the two token protocols; "2013" (the default) or "recent" for the other two
    global_fd         datagram: the BoundSocket of the process's own service port, borrowed; without it no connect
    backlog           stream: how many connections may wait
    connect_deadline  acknowledged: seconds until imc_connect is ETIMEDOUT; None is for ever
    choose_token      stream, datagram: returns 27 letters and digits; for tests that force a collision
    discard           closes fds that arrived and that nobody wants

    Raises ValueError for an unknown protocol and for a layout that does not go with it.
    """

    def __init__(
        self,
        protocol: str,
        layout: str | None = None,
        global_fd: BoundSocket | None = None,
        backlog: int = BACKLOG,
        connect_deadline: float | None = 5.0,
        choose_token: Callable[[], str | bytes] = choose_random_token,
        discard: Callable[[Iterable[int]], None] = discard,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol {protocol!r} is none of {', '.join(PROTOCOLS)}")
        kind = PROTOCOLS[protocol]
        if layout is not None and layout not in kind.layouts:
            raise ValueError(f"layout {layout!r} does not go with {protocol}: {' or '.join(kind.layouts)}")
        self.protocol = protocol
        self._discard = discard
        self.layout = layout or kind.layouts[0]
        self._layout = LAYOUTS[self.layout]
        self._by_token = kind.address_form is AddressForm.TOKEN
        self._connections = kind(Options(choose_token, global_fd, backlog, connect_deadline))
        # A free list, for pop and append are atomic: each call in progress has room of its own.
        self._rooms: list[Room] = []
        # What precedes the data of a message, by the type of its one descriptor, where that says all; and what it says.
        self._heads_sent: dict[type[Descriptor], bytes] = {}
        self._heads_received: dict[bytes, Told] = {}

    # Making connections

    def imc_makeboundsock(self) -> tuple[BoundSocket, SocketAddress]:
        """Return a fresh BoundSocket and its SocketAddress, owned by the caller.

        Raises ImcError: EMFILE out of descriptors; EADDRINUSE where every token that was tried is taken.
        """
        try:
            return self._connections.make_bound_socket()
        except OSError as error:
            raise _imc_error(error, out_of_descriptors=errno.EMFILE, otherwise=error.errno) from error

    def imc_accept(self, bound: BoundSocket) -> ConnectedSocket:
        """Wait for the next connection to `bound` (borrowed) and return it, owned by the caller.

        Raises EndOfStream where every SocketAddress is closed (a name cannot tell), MalformedMessage for one bad
        connect message, ImcError: EMFILE out of descriptors, EIO for any other failure.
        """
        if type(bound) is not BoundSocket:
            _require(bound, BoundSocket)
        try:
            return self._connections.accept(bound)
        except OSError as error:
            raise _imc_error(error, kept=(errno.EBADF,), out_of_descriptors=errno.EMFILE) from error

    def imc_connect(self, address: SocketAddress) -> ConnectedSocket:
        """Connect to whoever holds the BoundSocket of `address` (borrowed); the connection is the caller's.

        Returns before anybody accepts, but for the acknowledged protocol. Raises ImcError: EIO where the BoundSocket is
        gone (or there is no global_fd), EMFILE out of descriptors, ETIMEDOUT (acknowledged) past the deadline.
        """
        _require(address, SocketAddress)
        try:
            return self._connections.connect(address)
        except OSError as error:
            raise _imc_error(error, kept=(errno.ETIMEDOUT,), out_of_descriptors=errno.EMFILE) from error

    # Messages

    def imc_sendmsg(
        self,
        socket: ConnectedSocket | DataOnlySocket,
        data: Buffer | Sequence[Buffer],
        descriptors: Sequence[Descriptor] = (),
        flags: int = 0,
    ) -> int:
        """Send one message and return how many bytes of data it has; `descriptors` are borrowed.

        Raises ImcError: EINVAL for what Native Client does not allow (a descriptor that may not be sent, any descriptor
        on a DataOnlySocket, more than 8 of them, more than 131072 bytes or 256 buffers), EBADF for a closed descriptor,
        EAGAIN on a full queue with NONBLOCK, EMSGSIZE where the kernel refuses the size, EIO for every other failure
        (EndOfStream where the peer is gone).
        """
        if type(socket) not in _CARRIERS:
            _require(socket, ConnectedSocket, DataOnlySocket)
        if flags:
            _require_flags(flags)
        # Most messages are nothing but a little data.
        if type(data) is bytes and not descriptors and (size := len(data)) <= COPIED_MAX:
            try:
                socket.socket.send(HEADER_WITHOUT_DESCRIPTORS + data, SEND_NOW if flags else SEND)
            except BlockingIOError as error:
                # Where NONBLOCK was not asked for, a co-holder of the open file has set it: the general way waits.
                if flags:
                    raise _send_error(error) from error
            except OSError as error:
                raise _send_error(error) from error
            else:
                return size
        buffers, size = ((data,), len(data)) if type(data) is bytes else _buffers(data)
        if size > USER_BYTES_MAX:
            raise ImcError(errno.EINVAL, f"{size} bytes of data, more than {USER_BYTES_MAX}")
        head, fds = self._describe(socket, descriptors) if descriptors else _NOTHING_CARRIED
        try:
            send_packet(socket.socket, (head, *buffers), fds, nonblock=flags != 0)
        except OSError as error:
            raise _send_error(error) from error
        return size

    def imc_recvmsg(
        self,
        socket: ConnectedSocket | DataOnlySocket,
        size: int = USER_BYTES_MAX,
        max_descriptors: int = DESCRIPTORS_MAX,
        flags: int = 0,
    ) -> Message:
        """Receive one message of at most `size` bytes of data; its descriptors are the caller's.

        What does not fit is dropped, its descriptors closed, and the flags say so. Raises EndOfStream where the peer is
        gone and nothing is queued, MalformedMessage for one bad message, ImcError: EAGAIN on an empty queue with
        NONBLOCK, ECONNRESET once where the peer closed with data of ours unread, EINVAL for a size outside 0..131072 or
        max_descriptors outside 0..8, EBADF for a closed descriptor, EIO for any other failure.
        """
        if type(socket) not in _CARRIERS:
            _require(socket, ConnectedSocket, DataOnlySocket)
        if flags:
            _require_flags(flags)
        if not 0 <= size <= USER_BYTES_MAX:
            raise ImcError(errno.EINVAL, f"a size of {size}, outside 0..{USER_BYTES_MAX}")
        if not 0 <= max_descriptors <= DESCRIPTORS_MAX:
            raise ImcError(errno.EINVAL, f"max_descriptors of {max_descriptors}, outside 0..{DESCRIPTORS_MAX}")
        try:
            room = self._rooms.pop()
        except IndexError:
            room = _another_room()
        try:
            try:
                raw = socket.socket.recvmsg_into(room.buffers, CONTROL_ROOM, RECEIVE_NOW if flags else RECEIVE)
            except BlockingIOError:
                # Where NONBLOCK was not asked for, a co-holder of the open file has set it.
                if flags:
                    raise
                raw = receive_raw(socket.socket, room.buffers)
            received, control, answer, _ = raw
            # Most messages are nothing but data.
            if (
                answer == WHOLE
                and not control
                and HEADER_BYTES <= received <= HEADER_BYTES + size
                and room.memory[:HEADER_BYTES] == HEADER_WITHOUT_DESCRIPTORS
            ):
                return _new_message(Message, (room.memory[HEADER_BYTES:received], (), 0))
            return self._understood(socket, raw, room.memory, size, max_descriptors)
        except OSError as error:
            raise _imc_error(error, kept=(errno.EAGAIN, errno.ECONNRESET, errno.EBADF)) from error
        finally:
            self._rooms.append(room)

    def _understood(
        self,
        socket: ConnectedSocket | DataOnlySocket,
        raw: RawPacket,
        memory: mmap.mmap,
        size: int,
        max_descriptors: int,
    ) -> Message:
        """Return what a packet says, as `imc_recvmsg` does. Raises ImcError."""
        received, control, answer, _ = raw
        pending = delivered(control)
        adopted: list[Descriptor] = []
        try:
            if answer & CONTROL_TRUNCATED:
                raise ImcError(errno.EIO, "descriptors were lost: none was free for them")
            if received == 0 and not control and has_ended(socket.socket):
                raise EndOfStream("the peer is gone")
            adopters, count, data_offset = self._told(memory, received)
            if adopters and isinstance(socket, DataOnlySocket):
                raise MalformedMessage("descriptors on a DataOnlySocket")
            if len(pending) != count:
                raise MalformedMessage(f"{len(pending)} descriptors, where the tags tell of {count}")
            for adopt in adopters:
                adopted.append(adopt(pending))  # noqa: PERF401 - what was adopted is closed when a later one fails
        except BaseException:
            self._discard([*pending, *(descriptor.take() for descriptor in adopted)])
            raise
        flags = 0
        if received - data_offset > size:
            flags = DATA_TRUNCATED
            received = data_offset + size
        if len(adopted) > max_descriptors:
            flags |= DESCRIPTORS_TRUNCATED
            self._discard([descriptor.take() for descriptor in adopted[max_descriptors:]])
            del adopted[max_descriptors:]
        return _new_message(Message, (memory[data_offset:received], tuple(adopted), flags))

    def _told(self, memory: mmap.mmap, received: int) -> Told:
        """Return what the head of a message says. Raises MalformedMessage."""
        head = memory[:SHORT_HEAD_BYTES]
        told = self._heads_received.get(head)
        if told is not None and SHORT_HEAD_BYTES <= received <= SHORT_HEAD_BYTES + USER_BYTES_MAX:
            return told
        entries, data_offset = decode(self._layout, memory[:received])
        fds = sum(entry.kind not in _WITHOUT_FD for entry in entries)
        told = Told(tuple(map(_adopter_of, entries)), fds, data_offset)
        if data_offset == SHORT_HEAD_BYTES:
            if len(self._heads_received) >= HEADS_REMEMBERED:
                self._heads_received.clear()
            self._heads_received[head] = told
        return told

    def _describe(
        self, socket: ConnectedSocket | DataOnlySocket, descriptors: Sequence[Descriptor]
    ) -> tuple[bytes, Sequence[int]]:
        """Return the head of a message with `descriptors` (borrowed), and the fds that go along. Raises ImcError."""
        if isinstance(socket, DataOnlySocket):
            raise ImcError(errno.EINVAL, "a DataOnlySocket carries no descriptors")
        if len(descriptors) > DESCRIPTORS_MAX:
            raise ImcError(errno.EINVAL, f"{len(descriptors)} descriptors, more than {DESCRIPTORS_MAX}")
        if len(descriptors) == 1 and (head := self._heads_sent.get(type(descriptors[0]))) is not None:
            return head, (descriptors[0].fileno(),)
        entries = [self._entry_of(descriptor) for descriptor in descriptors]
        try:
            head = encode(self._layout, entries)
        except KeyError as error:
            raise ImcError(errno.EINVAL, f"a {error.args[0].value} cannot travel in layout {self.layout}") from None
        fds = [
            descriptor.fileno()
            for descriptor, entry in zip(descriptors, entries, strict=True)
            if entry.kind not in _WITHOUT_FD
        ]
        if len(entries) == 1 and entries[0].kind in _SAID_BY_TYPE:
            self._heads_sent[type(descriptors[0])] = head
        return head, fds

    def _entry_of(self, descriptor: Descriptor) -> Entry:
        if isinstance(descriptor, InvalidDescriptor):
            return Entry(Kind.INVALID)
        _require(descriptor, SocketAddress, DataOnlySocket, SharedMemory, HostFile)
        match descriptor:
            case SocketAddress() if self._by_token:
                return Entry(Kind.TOKEN_ADDRESS, token=token_of_address(descriptor))
            case SocketAddress():
                return Entry(Kind.ADDRESS)
            case SharedMemory(size=size):
                if size <= 0 or size % MEMORY_PAGE:
                    raise ImcError(errno.EINVAL, f"SharedMemory of {size} bytes cannot be sent")
                return Entry(Kind.SHARED_MEMORY, size=size)
            case HostFile(quota_id=bytes(quota_id)):
                return Entry(Kind.QUOTA_HOST_FILE, quota_id=quota_id)
            case HostFile():
                return Entry(Kind.HOST_FILE)
            case _:
                return Entry(Kind.DATA_ONLY_SOCKET)

    # Things to send

    def imc_socketpair(self) -> tuple[DataOnlySocket, DataOnlySocket]:
        """Return the two ends of a data-only channel, owned by the caller. Raises ImcError(ENFILE)."""
        try:
            left, right = seqpacket_sockets()
        except OSError as error:
            raise _imc_error(error, out_of_descriptors=errno.ENFILE, otherwise=error.errno) from error
        return DataOnlySocket.holding(left), DataOnlySocket.holding(right)

    def imc_mem_obj_create(self, size: int) -> SharedMemory:
        """Return zeroed memory of `size` bytes, owned by the caller; its size is sealed.

        Raises ImcError: EINVAL for a negative size or no multiple of 65536; ENOMEM for 0 and where it cannot be had.
        """
        if size < 0 or size % MEMORY_PAGE:
            raise ImcError(errno.EINVAL, f"{size} bytes is no multiple of {MEMORY_PAGE}")
        if size == 0:
            raise ImcError(errno.ENOMEM, "no memory of 0 bytes")
        try:
            memory = SharedMemory(os.memfd_create("imc-memory", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), size)
        except OSError as error:
            raise _imc_error(error, otherwise=errno.ENOMEM) from error
        try:
            os.ftruncate(memory.fileno(), size)
            # A file that its mappers' peer could shorten would be a SIGBUS in waiting.
            fcntl.fcntl(
                memory.fileno(),
                fcntl.F_ADD_SEALS,
                fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
            )
        except (OSError, OverflowError) as error:
            memory.close()
            raise ImcError(errno.ENOMEM, f"no memory of {size} bytes: {error}") from error
        return memory


class Room:
    """Where a message is received: the longest fits in, so that truncation is decided here and never by the kernel.

    A slice of a map is bytes at once; one of a bytearray would have to be copied again.
    """

    __slots__ = ("buffers", "memory")

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, RECEIVE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.buffers = (self.memory,)


def _another_room() -> Room:
    """Return a room for one call more. Raises ImcError(EIO) where there is no memory for it."""
    try:
        return Room()
    except OSError as error:
        raise _imc_error(error) from error


# Up to here, to copy the data behind its header takes less time than to have the kernel gather the two.
COPIED_MAX: Final = 8192
# Most heads are that short: all of up to eight descriptors of which nothing has to be said. Few programs receive more
# kinds of them than are remembered.
SHORT_HEAD_BYTES: Final = HEADER_BYTES + AREA_ALIGNMENT
HEADS_REMEMBERED: Final = 64
_CARRIERS: Final = frozenset({ConnectedSocket, DataOnlySocket})
_NOTHING_CARRIED: Final[tuple[bytes, Sequence[int]]] = (HEADER_WITHOUT_DESCRIPTORS, ())
_WITHOUT_FD: Final = frozenset({Kind.INVALID, Kind.TOKEN_ADDRESS})
# Those of which nothing has to be said but that they are there.
_SAID_BY_TYPE: Final = frozenset({Kind.ADDRESS, Kind.DATA_ONLY_SOCKET})
# Without a NamedTuple's own __new__, which is Python.
_new_message: Final = tuple.__new__


def _adopter_of(entry: Entry) -> Callable[[list[int]], Descriptor]:
    """Return who adopts the descriptor that `entry` tells of."""
    match entry.kind:
        case Kind.INVALID:
            return lambda _: INVALID
        case Kind.TOKEN_ADDRESS:
            return lambda _: address_of_token(entry.token)
        case Kind.ADDRESS:
            return _adopt_address
        case Kind.DATA_ONLY_SOCKET:
            return _adopt_carrier
        case Kind.SHARED_MEMORY:
            return partial(_adopt_memory, entry.size)
        case _:
            return partial(_adopt_file, entry.quota_id or None)


def _adopt_address(pending: list[int]) -> SocketAddress:
    address = SocketAddress.holding(connected_over(pending[0], "SocketAddress", ADDRESS_TYPES))
    del pending[0]
    return address


def _adopt_carrier(pending: list[int]) -> DataOnlySocket:
    carrier = DataOnlySocket.holding(connected_over(pending[0], "DataOnlySocket", MESSAGE_TYPES))
    del pending[0]
    return carrier


def _adopt_memory(size: int, pending: list[int]) -> SharedMemory:
    require_memory(pending[0], size)
    return SharedMemory(pending.pop(0), size)


def _adopt_file(quota_id: bytes | None, pending: list[int]) -> HostFile:
    require_host_file(pending[0])
    return HostFile(pending.pop(0), quota_id)


def _require(descriptor: object, *kinds: type[Descriptor]) -> None:
    """Raise ImcError: EINVAL unless `descriptor` is of one of `kinds`, EBADF where it is closed."""
    if not isinstance(descriptor, kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ImcError(errno.EINVAL, f"{descriptor!r} is no {expected}")
    if descriptor.fileno() < 0:
        raise ImcError(errno.EBADF, f"the {type(descriptor).__name__} is closed")


def _require_flags(flags: int) -> None:
    if flags & ~NONBLOCK:
        raise ImcError(errno.EINVAL, f"flags {flags:#x}, where NONBLOCK ({NONBLOCK}) is the only one")


def _buffers(data: Buffer | Sequence[Buffer]) -> tuple[Sequence[bytes | memoryview], int]:
    """Return `data` as a sequence of buffers, and their size in bytes. Raises ImcError(EINVAL) for more than 256."""
    if isinstance(data, bytes):
        return (data,), len(data)
    try:
        views = [memoryview(data)]  # type: ignore[arg-type]
    except TypeError:
        views = [memoryview(buffer) for buffer in data]  # type: ignore[arg-type]
    if not all(view.c_contiguous for view in views):
        raise ImcError(errno.EINVAL, "a buffer that is not contiguous")
    if len(views) > BUFFERS_MAX:
        raise ImcError(errno.EINVAL, f"{len(views)} buffers, more than {BUFFERS_MAX}")
    return views, sum(view.nbytes for view in views)


def _send_error(error: OSError) -> ImcError:
    """Return what a failed send means. The kernel tells of a reset but once, so no send is tried again for that."""
    if error.errno in (errno.EPIPE, errno.ECONNRESET):
        return EndOfStream("the peer is gone")
    return _imc_error(error, kept=(errno.EAGAIN, errno.EMSGSIZE, errno.EBADF))


def _imc_error(
    error: OSError,
    *,
    kept: tuple[int, ...] = (),
    out_of_descriptors: int | None = None,
    otherwise: int | None = errno.EIO,
) -> ImcError:
    """Return the ImcError that stands for `error`, which is itself where it is one already.

    Numbers in `kept` stay; EMFILE and ENFILE become `out_of_descriptors` where that is given; the rest `otherwise`.
    """
    if isinstance(error, ImcError):
        return error
    if error.errno in (errno.EMFILE, errno.ENFILE) and out_of_descriptors is not None:
        number: int | None = out_of_descriptors
    else:
        number = error.errno if error.errno in kept else otherwise
    return ImcError(number, error.strerror or str(error))
