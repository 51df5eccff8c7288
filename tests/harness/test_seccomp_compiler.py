"""The programs of strict, alone: what each call meets, beside what it meets where there is none.

Behind all other layers most of it could not be told from what the kernel refuses by itself.
"""

import errno
import mmap
import os
import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import pyseccomp
import pytest

from harness.seccomp_compiler import program_of
from sandbox.confinement import seccomp
from sandbox.confinement.confine import PR_SET_NO_NEW_PRIVS
from sandbox.confinement.kernel import prctl
from sandbox.confinement.policy import NATIVE, PROFILES
from sandbox.confinement.probe import attempted
from tests.guests.attempt import call_number

PYTHON: Final = program_of(PROFILES["strict"])
EXECUTED: Final = program_of(PROFILES["strict"], NATIVE)
KILLED: Final = f"whoever tried it ended with {-signal.SIGSYS}"
ALL_ONES: Final = (-1,) * 6

DISHONEST: Final = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "userfaultfd", "bpf", "perf_event_open", "keyctl", "add_key"),
    *("request_key", "mount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsmount", "fsconfig"),
    *("fspick", "mount_setattr", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
    *("setns", "unshare", "open_by_handle_at", "name_to_handle_at", "pidfd_getfd", "process_madvise", "reboot"),
    *("swapon", "swapoff", "iopl", "ioperm", "acct", "quotactl", "kcmp", "syslog", "settimeofday", "clock_settime"),
    "adjtimex",
)
PROBED: Final = (
    *("clone3", "openat2", "faccessat2", "statx", "epoll_pwait2", "futex_waitv", "close_range", "io_uring_setup"),
    *("io_uring_enter", "io_uring_register", "pidfd_open", "copy_file_range", "landlock_create_ruleset"),
)
# linux/sched.h: CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID.
THREAD: Final = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x80000 | 0x100000 | 0x200000
DETACHED: Final = 0x400000


def met(attempt: Callable[[], object], program: bytes | None = None) -> str:
    """Return what a process meets that makes an attempt, under a program or under none: an errno, or "done"."""

    def confined() -> None:
        if program is not None:
            prctl(PR_SET_NO_NEW_PRIVS, 1)
            seccomp.Program(program).load()
        attempt()

    said = attempted(confined) or "done"
    number = re.match(r"\[Errno (\d+)\]", said)
    return errno.errorcode[int(number[1])] if number else said


def by_name(name: str, *arguments: int | bytes | None) -> Callable[[], object]:
    """Return what makes a system call, whose number no list of ours has."""
    number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    if number < 0:
        pytest.skip(f"skipped: this architecture has no {name}")
    return partial(call_number, number, *arguments)


@pytest.mark.parametrize("program", [PYTHON, EXECUTED], ids=["Python", "native"])
@pytest.mark.parametrize("name", DISHONEST)
def test_what_nothing_honest_calls_is_the_end(name: str, program: bytes) -> None:
    assert met(by_name(name, *ALL_ONES), program) == KILLED


@pytest.mark.parametrize("name", PROBED)
def test_what_libraries_probe_is_not_there(name: str) -> None:
    assert met(by_name(name, *ALL_ONES), PYTHON) == "ENOSYS"


@pytest.mark.parametrize("bit", [1 << bit for bit in range(32) if 1 << bit != DETACHED], ids=hex)
def test_clone_is_for_threads_with_nothing_more_and_nothing_less(bit: int) -> None:
    for program in (PYTHON, EXECUTED):
        assert met(by_name("clone", THREAD ^ bit), program) == "EPERM"


def test_threads_can_be_had() -> None:
    def have_one() -> None:
        thread = threading.Thread(target=threading.Event().set)
        thread.start()
        thread.join()

    assert met(have_one, PYTHON) == "done"


FLAGS: Final = {
    "O_WRONLY": os.O_WRONLY,
    "O_RDWR": os.O_RDWR,
    "O_CREAT": os.O_CREAT,
    "O_TRUNC": os.O_TRUNC,
    "O_APPEND": os.O_APPEND,
    "O_PATH": os.O_PATH,
}


@pytest.mark.parametrize("flag", FLAGS)
def test_files_are_opened_to_be_read_alone(flag: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    attempt = partial(os.open, tmp_path / "file", FLAGS[flag])
    assert met(attempt, PYTHON) == "EPERM"
    assert met(attempt) == "done"
    assert met(partial(os.open, tmp_path / "file", os.O_RDONLY | os.O_NOFOLLOW), PYTHON) == "done"


def test_no_file_is_opened_that_has_no_name(tmp_path: Path) -> None:
    flag = os.O_TMPFILE & ~os.O_DIRECTORY
    # Without its other flags the kernel would answer that they are missing.
    assert met(partial(os.open, tmp_path, flag), PYTHON) == "EPERM"
    assert met(partial(os.open, tmp_path, flag)) == "EINVAL"


# Whoever has no power over the network is told so of these, before it is told that they have no pairs.
OF_THE_POWERFUL: Final = {socket.AF_PACKET, 44}  # AF_XDP


@pytest.mark.parametrize("family", [family for family in range(1, 46) if family != socket.AF_UNIX])
def test_pairs_are_of_unix_sockets(family: int) -> None:
    attempt = partial(socket.socketpair, family, socket.SOCK_SEQPACKET)
    assert met(attempt, PYTHON) == "EPERM"
    assert met(attempt) != "EPERM" or (os.geteuid() != 0 and family in OF_THE_POWERFUL)


# asm-generic/mman-common.h, but for what spoils pages of the machine (100, 101).
ADVICE_ALLOWED: Final = {4, 8, 14, 15}


@pytest.mark.parametrize("advice", range(26))
def test_only_some_advice_on_memory_is_taken(advice: int) -> None:
    def advise() -> None:
        with mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE) as page:
            page.madvise(advice)

    assert (met(advise, PYTHON) == "EPERM") == (advice not in ADVICE_ALLOWED)
    assert met(advise) != "EPERM"


def test_limits_are_one_s_own_which_only_what_is_executed_may_set() -> None:
    here = by_name("prlimit64", 0, resource.RLIMIT_CORE, None, bytes(16))
    to_set = by_name("prlimit64", 0, resource.RLIMIT_CORE, bytes(16), None)
    others = by_name("prlimit64", os.getpid(), resource.RLIMIT_CORE, None, bytes(16))
    assert [met(attempt, PYTHON) for attempt in (here, to_set, others)] == ["done", "EPERM", "EPERM"]
    assert [met(attempt, EXECUTED) for attempt in (here, to_set, others)] == ["done", "done", "EPERM"]
    assert [met(attempt) for attempt in (here, to_set, others)] == ["done", "done", "done"]


@pytest.mark.parametrize("name", ["clock_gettime", "clock_getres", "clock_nanosleep"])
def test_clocks_are_everybody_s_or_one_s_own(name: str) -> None:
    # linux/posix-timers.h: the clock of a process; as an int, and as wide as a register.
    theirs = ~os.getpid() << 3 | 2
    tail = (0, bytes(16), None) if name == "clock_nanosleep" else (bytes(16),)
    for number in (theirs, theirs & 0xFFFF_FFFF):
        assert met(by_name(name, number, *tail), PYTHON) == "EPERM"
        assert met(by_name(name, number, *tail)) == "done"
    for number in (time.CLOCK_REALTIME, time.CLOCK_MONOTONIC, time.CLOCK_PROCESS_CPUTIME_ID):
        assert met(by_name(name, number, *tail), PYTHON) == "done"
    assert met(lambda: (time.process_time(), time.thread_time()), PYTHON) == "done"


@pytest.mark.parametrize("ask", [os.getpgid, os.getsid, os.sched_getaffinity])
def test_whether_there_is_a_process_is_not_told(ask: Callable[[int], object]) -> None:
    assert met(lambda: ask(0), PYTHON) == "done"
    for other in (os.getpid(), 1):
        assert met(lambda other=other: ask(other), PYTHON) == "EPERM"  # type: ignore[misc]
        assert met(lambda other=other: ask(other)) == "done"  # type: ignore[misc]


READ, WRITE, EXECUTE = mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC


@pytest.mark.parametrize(
    ("protection", "of_a_file", "said"),
    [
        (READ | WRITE, True, "done"),
        (READ | EXECUTE, True, "done"),
        (READ | WRITE | EXECUTE, True, "EPERM"),
        (WRITE | EXECUTE, True, "EPERM"),
        (READ | WRITE, False, "done"),
        (READ | EXECUTE, False, "EPERM"),
        (READ | WRITE | EXECUTE, False, "EPERM"),
    ],
)
def test_what_is_executed_is_a_file_that_cannot_be_written_there(protection: int, of_a_file: bool, said: str) -> None:
    def map_a_page() -> None:
        fd = os.memfd_create("code") if of_a_file else -1
        if of_a_file:
            os.ftruncate(fd, mmap.PAGESIZE)
        mmap.mmap(fd, mmap.PAGESIZE, flags=mmap.MAP_SHARED, prot=protection).close()

    assert met(map_a_page, PYTHON) == said
    assert met(map_a_page, EXECUTED) == "done"
    assert met(map_a_page) == "done"
