"""What /proc tells of a process: what each thread waits for, and its descriptors.

Nothing here raises for what a process does, or for what we may not know of it. It may block, though, where a process
has its memory behind a file system of its own: whoever calls it does so in a thread that can be left behind.
"""

import fcntl
import functools
import itertools
import math
import operator
import os
import platform
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from harness.hang import Part
from harness.inspection.syscalls import Wait, numbers_of, wait_of

# Of a hostile process we need not know all, as long as we know that it was not all.
THREADS_MAX: Final = 256
DESCRIPTORS_MAX: Final = 4096
PROCESSES_MAX: Final = 32
DESCRIPTORS_OURS_MAX: Final = 1 << 20
PIDS_MAX: Final = 1 << 22
GONE: Final = {"", "Z", "X"}
READ_BYTES: Final = 4096
# An epoll has a line of some 90 bytes for each descriptor that it watches.
FACTS_BYTES: Final = 8192
TOKEN_LINK: Final = "/memfd:imc-token (deleted)"  # noqa: S105 - a name
TOKEN_READ_BYTES: Final = 64
NUMBERS: Final = numbers_of(platform.machine())


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a descriptor table. `identity` is what all its duplicates have in common, or the path of a file.

    `reads`, `writes`: what the open file was opened for. `watched`: the descriptors that it watches, where it is an
    epoll; `more`: these are not all.
    """

    number: int
    identity: str
    reads: bool = True
    writes: bool = True
    watched: tuple[int, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread: `state` is its letter in /proc/PID/stat; `wait` None where it runs, or where that cannot be seen."""

    number: int
    state: str
    wait: Wait | None
    seen: bool = True
    place: str = ""


@dataclass(frozen=True, slots=True)
class Process:
    """One process, as it was just now. `unseen` is of what it has more than was looked at."""

    pid: int
    command: str
    threads: tuple[Thread, ...]
    table: tuple[Entry, ...]
    catches: int = 0
    unseen: frozenset[Part] = frozenset()


def look(pids: Iterable[int], until: float = math.inf) -> tuple[Process, ...]:
    """Return what can be seen of these processes, a worker and its children, until then (monotonic)."""
    unseen: set[Part] = set()
    bounded = _bounded(pids, PROCESSES_MAX, until, Part.PROCESSES, unseen)
    found = [process for pid in bounded if (process := _process(pid, until)).threads]
    return tuple(replace(process, unseen=process.unseen | unseen) for process in found)


def _bounded(numbers: Iterable[int], most: int, until: float, part: Part, unseen: set[Part]) -> Iterator[int]:
    """Yield so many numbers, and after the first one none later than then. `unseen` gets a note of what is left out."""
    for count, number in enumerate(numbers):
        if count >= most or (count and time.monotonic() > until):
            unseen.add(part)
            return
        yield number


def _process(pid: int, until: float) -> Process:
    base = f"/proc/{pid}"
    unseen: set[Part] = set()
    tasks = _bounded(_numbers(f"{base}/task"), THREADS_MAX, until, Part.THREADS, unseen)
    threads = tuple(_thread(base, number) for number in tasks)
    numbers = _bounded(_numbers(f"{base}/fd"), DESCRIPTORS_MAX, until, Part.DESCRIPTORS, unseen)
    table = tuple(entry for number in numbers if (entry := _entry(base, number)))
    return Process(
        pid,
        _read(f"{base}/comm").strip(),
        tuple(thread for thread in threads if thread.state not in GONE),
        table,
        _signals(base, "SigCgt"),
        frozenset(unseen),
    )


def holds_signal(pid: int, number: int) -> bool:
    """Say whether a signal is yet to be handled by a process, or kept from it: pending, or blocked in a thread."""
    tasks = (f"/proc/{pid}/task/{thread}" for thread in itertools.islice(_numbers(f"/proc/{pid}/task"), THREADS_MAX))
    return any(_signals(task, "SigPnd", "ShdPnd", "SigBlk") >> (number - 1) & 1 for task in tasks)


def _signals(task: str, *sets: str) -> int:
    """Return the union of these sets of signals of /proc/PID/status, as bits; none where it cannot be read."""
    status = dict(line.partition(":")[::2] for line in _read(f"{task}/status").splitlines())
    return functools.reduce(operator.or_, (int(status.get(name, "0"), 16) for name in sets))


def _thread(process: str, number: int) -> Thread:
    base = f"{process}/task/{number}"
    state = _read(f"{base}/stat").rpartition(")")[2].split()
    words = _read(f"{base}/syscall")

    def memory(address: int, size: int) -> bytes:
        fd = os.open(f"{process}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, size, address)
        finally:
            os.close(fd)

    place = "" if words else _read(f"{base}/wchan")
    return Thread(number, state[0] if state else "", wait_of(words, NUMBERS, memory), bool(words), place)


def identities_of(process: str) -> set[str]:
    """Return the identities of all that a process, given as a folder of /proc, holds."""
    numbers = itertools.islice(_numbers(f"{process}/fd"), DESCRIPTORS_OURS_MAX)
    return {identity_at(f"{process}/fd/{number}") for number in numbers}


def _entry(process: str, number: int) -> Entry | None:
    identity = identity_at(f"{process}/fd/{number}")
    if not identity:
        return None
    read = _read(f"{process}/fdinfo/{number}", FACTS_BYTES)
    # The last line may have been cut in two.
    facts = read.split("\n")[:-1]
    flags = next((int(line.split()[1], 8) for line in facts if line.startswith("flags:")), os.O_RDWR)
    mode = flags & os.O_ACCMODE
    watched = tuple(int(line.split()[1]) for line in facts if line.startswith("tfd:") and len(line.split()) > 1)
    return Entry(number, identity, mode != os.O_WRONLY, mode != os.O_RDONLY, watched, len(read) >= FACTS_BYTES)


def identity_at(path: str) -> str:
    """Return what all duplicates of a descriptor, named as /proc/PID/fd/N, have in common; "" where it is gone."""
    try:
        link = os.readlink(path)  # noqa: PTH115 - a link that leads nowhere that Path would understand
    except OSError:
        return ""
    return _token_at(path) or link if link == TOKEN_LINK else link


def _token_at(path: str) -> str:
    """Return the token that a memfd holds. What is opened is a regular file, whatever lies there meanwhile."""
    with suppress(OSError):
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return ""
            fd = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE:
                    token = os.pread(fd, TOKEN_READ_BYTES, 0)
                    return "token:" + token.rstrip(b"\0").decode("ascii", "backslashreplace")
            finally:
                os.close(fd)
        finally:
            os.close(handle)
    return ""


def children(until: float = math.inf, unseen: set[Part] | None = None) -> Mapping[int, list[int]]:
    """Return the children of every process that is alive, or of those that can be read until then (monotonic)."""
    found: dict[int, list[int]] = {}
    for pid in _bounded(_numbers("/proc"), PIDS_MAX, until, Part.PROCESSES, set() if unseen is None else unseen):
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if len(fields) > 1 and fields[0] not in GONE:
            found.setdefault(int(fields[1]), []).append(pid)
    return found


def family(pid: int, children: Mapping[int, list[int]]) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for parent in found:
        found += children.get(parent, ())
    return found


def _numbers(folder: str) -> Iterator[int]:
    with suppress(OSError), os.scandir(folder) as entries:
        yield from (int(entry.name) for entry in entries if entry.name.isdigit())


def _read(path: str, size: int = READ_BYTES) -> str:
    """Return the beginning of a file of /proc; "" where it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, size).decode("ascii", "backslashreplace")
    except OSError:
        return ""
    finally:
        os.close(fd)
