"""What a thread waits for in a system call: the words of /proc/PID/task/TID/syscall, and the memory that they point to.

Pure but for `memory`, which reads so many bytes of the worker's at an address and may raise OSError. The numbers are
those of asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64).
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

Memory = Callable[[int, int], bytes]

# select.h; more descriptors than a worker may have, and than is worth reading.
DESCRIPTORS_READ_MAX: Final = 1024
# sizeof(struct sockaddr_un)
NAME_BYTES_MAX: Final = 110
POLLFD: Final = struct.Struct("=ihh")
# struct msghdr begins with the name's address and its length.
MSGHDR_NAME: Final = struct.Struct("=QI")
POLLOUT: Final = 0x4
POLLIN_OR_HANGUP: Final = 0x1 | 0x2 | 0x40 | 0x2000


class Shape(Enum):
    """Where a call has its descriptors."""

    READ = auto()
    WRITE = auto()
    CONNECT = auto()
    SENDTO = auto()
    SENDMSG = auto()
    POLL = auto()
    PPOLL = auto()
    SELECT = auto()
    EPOLL = auto()
    FUTEX = auto()
    SLEEP = auto()
    OTHER = auto()


# name: shape, number on x86_64, number on aarch64; None where there is no such call.
CALLS: Final[Mapping[str, tuple[Shape, int | None, int | None]]] = {
    "read": (Shape.READ, 0, 63),
    "readv": (Shape.READ, 19, 65),
    "recvfrom": (Shape.READ, 45, 207),
    "recvmsg": (Shape.READ, 47, 212),
    "recvmmsg": (Shape.READ, 299, 243),
    "accept": (Shape.READ, 43, 202),
    "accept4": (Shape.READ, 288, 242),
    "write": (Shape.WRITE, 1, 64),
    "writev": (Shape.WRITE, 20, 66),
    "sendmmsg": (Shape.WRITE, 307, 269),
    "connect": (Shape.CONNECT, 42, 203),
    "sendto": (Shape.SENDTO, 44, 206),
    "sendmsg": (Shape.SENDMSG, 46, 211),
    "poll": (Shape.POLL, 7, None),
    "ppoll": (Shape.PPOLL, 271, 73),
    "select": (Shape.SELECT, 23, None),
    "pselect6": (Shape.SELECT, 270, 72),
    "epoll_wait": (Shape.EPOLL, 232, None),
    "epoll_pwait": (Shape.EPOLL, 281, 22),
    "epoll_pwait2": (Shape.EPOLL, 441, 441),
    "futex": (Shape.FUTEX, 202, 98),
    "nanosleep": (Shape.SLEEP, 35, 101),
    "clock_nanosleep": (Shape.SLEEP, 230, 115),
    "wait4": (Shape.OTHER, 61, 260),
    "waitid": (Shape.OTHER, 247, 95),
    "pause": (Shape.OTHER, 34, None),
    "rt_sigsuspend": (Shape.OTHER, 130, 133),
    "rt_sigtimedwait": (Shape.OTHER, 128, 137),
    "flock": (Shape.OTHER, 73, 32),
    "fcntl": (Shape.OTHER, 72, 25),
    "restart_syscall": (Shape.OTHER, 219, 128),
    "io_uring_enter": (Shape.OTHER, 426, 426),
}
MACHINES: Final = ("x86_64", "aarch64")


@dataclass(frozen=True, slots=True)
class Wait:
    """What a thread waits for: descriptors to read from or to write to, the socket of a name (all of sun_path).

    `epoll`: what `reads` names is an epoll, and what it watches is waited for. `timed`: the wait ends by itself;
    `sleeps`: it is for time alone. `more`: not all that it waits for was read.
    """

    call: str
    reads: tuple[int, ...] = ()
    writes: tuple[int, ...] = ()
    name: bytes = b""
    timed: bool = False
    sleeps: bool = False
    epoll: bool = False
    more: bool = False

    @property
    def frail(self) -> bool:
        """Whether a signal ends the wait for good, where Python would begin others again (PEP 475)."""
        return self.call in {"pause", "rt_sigsuspend"}


def numbers_of(machine: str) -> Mapping[int, tuple[str, Shape]]:
    """Return the calls of a machine (as `uname -m` tells it) by their number; none of one that is not known."""
    if machine not in MACHINES:
        return {}
    column = 1 + MACHINES.index(machine)
    return {
        number: (name, call[0])
        for name, call in CALLS.items()
        if (number := call[column]) is not None and not isinstance(number, Shape)
    }


def wait_of(words: str, numbers: Mapping[int, tuple[str, Shape]], memory: Memory) -> Wait | None:
    """Return what a thread waits for, by its line of /proc; None where it runs, or is in no system call."""
    fields = words.split()
    if len(fields) < 7 or not fields[0].isdigit():  # noqa: PLR2004 - a number and six arguments
        return None
    number = int(fields[0])
    arguments = [int(field, 16) for field in fields[1:7]]
    name, shape = numbers.get(number, (f"system call {number}", Shape.OTHER))
    try:
        return _shaped(name, shape, arguments, memory)
    except (OSError, struct.error, OverflowError):
        # Its memory cannot be read, or is not what the call would take: of those with one descriptor that is known.
        writes = (fits_int(arguments[0]),) if shape in {Shape.CONNECT, Shape.SENDTO, Shape.SENDMSG} else ()
        return Wait(name, writes=writes)


def _shaped(name: str, shape: Shape, arguments: list[int], memory: Memory) -> Wait:
    first, second, third, _, fifth, sixth = arguments
    fd = fits_int(first)
    match shape:
        case Shape.READ:
            return Wait(name, reads=(fd,))
        case Shape.WRITE:
            return Wait(name, writes=(fd,))
        case Shape.CONNECT:
            return Wait(name, writes=(fd,), name=_name(second, third, memory))
        case Shape.SENDTO:
            return Wait(name, writes=(fd,), name=_name(fifth, sixth, memory))
        case Shape.SENDMSG:
            address, size = MSGHDR_NAME.unpack(memory(second, MSGHDR_NAME.size))
            return Wait(name, writes=(fd,), name=_name(address, size, memory))
        case _:
            return _watching(name, shape, arguments, memory)


def _watching(name: str, shape: Shape, arguments: list[int], memory: Memory) -> Wait:
    first, second, third, fourth, fifth, _ = arguments
    match shape:
        case Shape.POLL | Shape.PPOLL:
            reads, writes = _polled(first, second, memory)
            timed = fits_int(third) >= 0 if shape is Shape.POLL else bool(third)
            more = second > DESCRIPTORS_READ_MAX
            sleeps = timed and not reads and not writes and not more
            return Wait(name, reads, writes, timed=timed, sleeps=sleeps, more=more)
        case Shape.SELECT:
            reads, writes = (_selected(first, address, memory) for address in (second, third))
            more = fits_int(first) > DESCRIPTORS_READ_MAX
            sleeps = bool(fifth) and not reads and not writes and not more
            return Wait(name, reads, writes, timed=bool(fifth), sleeps=sleeps, more=more)
        case Shape.EPOLL:
            timed = bool(fourth) if name == "epoll_pwait2" else fits_int(fourth) >= 0
            return Wait(name, reads=(fits_int(first),), timed=timed, epoll=True)
        case Shape.FUTEX:
            return Wait(name, timed=bool(fourth))
        case Shape.SLEEP:
            return Wait(name, timed=True, sleeps=True)
        case _:
            return Wait(name)


def fits_int(argument: int) -> int:
    """Return what a C function that takes an int makes of a register."""
    return int.from_bytes((argument & 0xFFFF_FFFF).to_bytes(4, "little"), "little", signed=True)


def _name(address: int, size: int, memory: Memory) -> bytes:
    """Return the name in a sockaddr_un, without its family; b"" where there is none."""
    size = min(size & 0xFFFF_FFFF, NAME_BYTES_MAX)
    return memory(address, size)[2:] if address and size else b""


def _polled(address: int, count: int, memory: Memory) -> tuple[tuple[int, ...], tuple[int, ...]]:
    count = min(count, DESCRIPTORS_READ_MAX)
    entries = list(POLLFD.iter_unpack(memory(address, count * POLLFD.size) if count else b""))
    reads = tuple(fd for fd, events, _ in entries if fd >= 0 and (events & POLLIN_OR_HANGUP or not events))
    return reads, tuple(fd for fd, events, _ in entries if fd >= 0 and events & POLLOUT)


def _selected(count: int, address: int, memory: Memory) -> tuple[int, ...]:
    count = min(count, DESCRIPTORS_READ_MAX)
    if not address or not count:
        return ()
    # An array of longs, little-endian on both machines: bit N is that of descriptor N.
    bits = int.from_bytes(memory(address, (count + 63) // 64 * 8), "little")
    return tuple(fd for fd in range(count) if bits >> fd & 1)
