"""Which system calls a connect and an accept are: as strace sees them where there is one, else from a list."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import sandbox
from sandbox.imc import Imc
from sandbox.worker import Worker

# What strace has seen; a test holds that it still does.
CALLS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "stream": {
        "connect": ("pread64", "socket", "getsockname", "connect"),
        "accept": ("accept4", "getsockname"),
    },
    "datagram": {
        "connect": ("pread64", "socketpair", "sendmsg", "close"),
        "accept": ("recvmsg", "getsockname", "getpeername", "getsockopt"),
    },
    "socketpair": {
        "connect": ("socketpair", "sendmsg", "close"),
        "accept": ("recvmsg", "newfstatat", "getsockname", "getpeername", "getsockopt"),
    },
    "acknowledged": {
        "connect": ("socketpair", "sendmsg", "close", "poll", "recvmsg"),
        "accept": ("recvmsg", "newfstatat", "getsockname", "getpeername", "getsockopt", "sendmsg"),
    },
}
# Calls that change nothing, and that nothing else here makes, before and after each side.
MARKS: Final[Mapping[str, str]] = {"getppid": "connect", "getpgrp": "accept"}
# As "[pid 7] connect(3, …": a call that another's interrupts is told twice, the second time as <... connect resumed>.
LINE: Final = re.compile(r"(?:\[pid\s+(\d+)\] )?(\w+)\(")
# What Python does for itself, whenever it does: memory.
OF_PYTHON: Final = frozenset({"brk", "mmap", "munmap", "madvise"})
# The first time, Python makes what it then has.
ROUNDS: Final = 3
TRACED: Final = "import sys; sys.path[:0] = [sys.argv[1]]; from {} import both; both(sys.argv[2])"


def counts(worker: Worker) -> None:
    """Report the calls of connect and of accept, in order, and by whom they were counted."""
    strace = shutil.which("strace", path=os.defpath)
    calls = CALLS[worker.imc.protocol] if strace is None else traced(strace, worker.imc.protocol)
    worker.report("by", "the code's own list" if strace is None else "strace")
    for side, names in calls.items():
        worker.report(side, list(names))


def traced(strace: str, protocol: str) -> dict[str, tuple[str, ...]]:
    """Return the calls of both sides of a connection between two processes that strace looks at."""
    folder = str(Path(sandbox.__file__).parents[1])
    python = [sys.executable, "-I", "-c", TRACED.format(__name__), folder, protocol]
    command = [strace, "-f", "-qq", "-e", "signal=none", *python]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stderr.splitlines()
    return {side: between(lines, mark) for mark, side in MARKS.items()}


def between(lines: Iterable[str], mark: str) -> tuple[str, ...]:
    """Return the calls of the last round between two of these marks, without those of Python's own.

    Until there are two processes, strace does not say whose a call is: it is the first one's.
    """
    calls = [(match[1] or "", match[2]) for match in map(LINE.match, lines) if match is not None]
    whose = {process for process, name in calls if name == mark}
    names = [name for process, name in calls if process in whose]
    marked = [at for at, name in enumerate(names) if name == mark]
    return tuple(name for name in names[marked[-2] + 1 : marked[-1]] if name not in OF_PYTHON)


def both(protocol: str) -> None:
    """Connect in this process and accept in a child, a few times, with a mark before and after each."""
    bound, address = Imc(protocol).imc_makeboundsock()
    imc = Imc(protocol, global_fd=bound)
    if child := os.fork():
        for _ in range(ROUNDS):
            os.getppid()
            connection = imc.imc_connect(address)
            os.getppid()
            connection.close()
        os.waitpid(child, 0)
    else:
        for _ in range(ROUNDS):
            os.getpgrp()
            connection = imc.imc_accept(bound)
            os.getpgrp()
            connection.close()
        os._exit(0)
