"""What /proc tells of a process: what each thread waits for, and its descriptors.

Nothing here raises for what a process does, or for what we may not know of it. It may block, though, where a process
has its memory behind a file system of its own: whoever calls it does so in a thread that can be left behind.
"""

import fcntl
import functools
import operator
import os
import platform
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from harness.inspection.syscalls import Wait, numbers_of, wait_of

# Of a hostile process we need not know all.
THREADS_MAX: Final = 64
DESCRIPTORS_MAX: Final = 4096
PROCESSES_MAX: Final = 32
DESCRIPTORS_OURS_MAX: Final = 1 << 20
READ_BYTES: Final = 4096
TOKEN_LINK: Final = "/memfd:imc-token (deleted)"  # noqa: S105 - a name
TOKEN_READ_BYTES: Final = 64
NUMBERS: Final = numbers_of(platform.machine())


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a descriptor table. `identity` is what all its duplicates have in common, or the path of a file.

    `reads`, `writes`: what the open file was opened for. `watched`: the descriptors that it watches, where it is an
    epoll.
    """

    number: int
    identity: str
    reads: bool = True
    writes: bool = True
    watched: tuple[int, ...] = ()


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
    """One process, as it was just now."""

    pid: int
    command: str
    threads: tuple[Thread, ...]
    table: tuple[Entry, ...]
    catches: int = 0


def look(pids: list[int]) -> tuple[Process, ...]:
    """Return what can be seen of these processes: a worker and its children."""
    return tuple(process for pid in pids[:PROCESSES_MAX] if (process := _process(pid)).threads)


def _process(pid: int) -> Process:
    base = f"/proc/{pid}"
    threads = tuple(_thread(base, number) for number in _numbers(f"{base}/task", THREADS_MAX))
    return Process(
        pid,
        _read(f"{base}/comm").strip(),
        tuple(thread for thread in threads if thread.state not in {"", "Z", "X"}),
        table_of(base),
        _signals(base, "SigCgt"),
    )


def holds_signal(pid: int, number: int) -> bool:
    """Say whether a signal is yet to be handled by a process, or kept from it: pending, or blocked in a thread."""
    tasks = (f"/proc/{pid}/task/{thread}" for thread in _numbers(f"/proc/{pid}/task", THREADS_MAX))
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


def table_of(process: str) -> tuple[Entry, ...]:
    """Return the descriptor table of a process, given as a folder of /proc."""
    return tuple(entry for number in _numbers(f"{process}/fd", DESCRIPTORS_MAX) if (entry := _entry(process, number)))


def identities_of(process: str) -> set[str]:
    """Return the identities of all that a process, given as a folder of /proc, holds."""
    return {identity_at(f"{process}/fd/{number}") for number in _numbers(f"{process}/fd", DESCRIPTORS_OURS_MAX)}


def _entry(process: str, number: int) -> Entry | None:
    identity = identity_at(f"{process}/fd/{number}")
    if not identity:
        return None
    facts = _read(f"{process}/fdinfo/{number}").split("\n")
    flags = next((int(line.split()[1], 8) for line in facts if line.startswith("flags:")), os.O_RDWR)
    mode = flags & os.O_ACCMODE
    watched = tuple(int(line.split()[1]) for line in facts if line.startswith("tfd:") and len(line.split()) > 1)
    return Entry(number, identity, mode != os.O_WRONLY, mode != os.O_RDONLY, watched)


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


def children() -> Mapping[int, list[int]]:
    """Return the children of every process."""
    found: dict[int, list[int]] = {}
    for pid in _numbers("/proc", 1 << 20):
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if len(fields) > 1:
            found.setdefault(int(fields[1]), []).append(pid)
    return found


def family(pid: int, children: Mapping[int, list[int]]) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for parent in found:
        found += children.get(parent, ())
    return found


def _numbers(folder: str, most: int) -> Iterator[int]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.isdigit():
                yield int(entry.name)
                most -= 1
                if not most:
                    return


def _read(path: str) -> str:
    """Return the beginning of a file of /proc; "" where it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, READ_BYTES).decode("ascii", "backslashreplace")
    except OSError:
        return ""
    finally:
        os.close(fd)
