"""Tests that would disturb their own process, run in a forked child."""

import functools
import gc
import os
import resource
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn, ParamSpec

import psutil
import pytest

from harness.launcher import _Shared
from tests.command import server_pid
from tests.kernel import OpenDescriptors, open_files

P = ParamSpec("P")

CHILD_DEADLINE: Final = 20


def fork() -> int:
    """Fork; the child has a deadline of its own, and what it inherited is never collected."""
    with warnings.catch_warnings():
        # Later Pythons warn of threads. The child takes no lock that another thread could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        gc.freeze()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(CHILD_DEADLINE)
    return pid


def run_and_exit(call: Callable[[], object], report: int) -> NoReturn:
    """Run `call` in a child, write the traceback of a failure to the fd `report`, and end this process."""
    status = 0
    try:
        call()
    except BaseException:  # noqa: BLE001 - reported by the parent
        status = 1
        os.write(report, traceback.format_exc().encode())
    finally:
        os._exit(status)


def in_child(test: Callable[P, None]) -> Callable[P, None]:
    """Run a test in a forked child; its failure, or any other way to end, is the test's failure."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        reading, writing = os.pipe()
        pid = fork()
        if pid == 0:
            run_and_exit(lambda: test(*args, **kwargs), writing)
        os.close(writing)
        try:
            with os.fdopen(reading, "rb") as pipe:
                report = pipe.read().decode()
        finally:
            os.kill(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if report or status:
            pytest.fail(report or f"the child ended with {status}", pytrace=False)

    return run


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Leave this process, which must be a child, `count` descriptors to open; none of them may be open at the end."""
    before = OpenDescriptors()
    highest = max(open_files())
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 16, limits[1]))
    hoard = []
    try:
        while True:
            try:
                hoard.append(os.dup(2))
            except OSError:
                break
        for _ in range(count):
            os.close(hoard.pop())
        yield
    finally:
        for fd in hoard:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert before.only(), f"leaked: {before.new()}"


def children() -> list[int]:
    """Return the processes that we have started and that are there, without those that all tests share."""
    shared = {_Shared.launcher.pid if _Shared.launcher is not None else None, server_pid()}
    return [child.pid for child in psutil.Process().children(recursive=True) if child.pid not in shared]
