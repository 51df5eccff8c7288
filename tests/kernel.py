"""What the kernel knows about this process: open descriptors, and where its threads wait."""

import gc
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

PATIENCE = 10.0


class HasFileno(Protocol):
    def fileno(self) -> int: ...


def open_files() -> dict[int, str]:
    """Return the target of each fd of this process."""
    found = {}
    # Twice around every test: pathlib would take most of the time.
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
        except FileNotFoundError:  # the fd that listed the directory
            continue
    return found


class OpenDescriptors:
    """The descriptors of this process, against those that were open when this was made."""

    def __init__(self) -> None:
        self._before = open_files()

    def new(self) -> dict[int, str]:
        """Return what is open now and was not then."""
        return {fd: target for fd, target in open_files().items() if self._before.get(fd) != target}

    def only(self, *expected: HasFileno) -> bool:
        """Say whether exactly these were opened since; garbage does not count."""
        wanted = {descriptor.fileno() for descriptor in expected}
        if self.new().keys() == wanted:
            return True
        gc.collect()
        return self.new().keys() == wanted


def until(condition: Callable[[], bool], what: str) -> None:
    """Look until `condition` holds, for a bounded time."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {PATIENCE} s: {what}")
        time.sleep(0.0005)


def waits_in(process: int, thread: int, *places: str) -> bool:
    """Say whether the thread sleeps in a kernel function whose name has one of `places` in it."""
    channel = Path(f"/proc/{process}/task/{thread}/wchan").read_text(encoding="ascii")
    return any(place in channel for place in places)


# Where a thread sleeps that waits for a message, a connection or room in a queue (and not for Python's lock).
SOCKETS = ("skb", "unix_wait", "poll")


class Background(Generic[T]):
    """A call in a thread of its own; a thread that hangs does not keep the tests from ending."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._future: Future[T] = Future()
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], T]) -> None:
        try:
            self._future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - handed over whole
            self._future.set_exception(error)

    def done(self) -> bool:
        return self._future.done()

    def native_id(self) -> int:
        """Return the kernel's number of the call's thread."""
        until(lambda: self._thread.native_id is not None, "the thread has started")
        return self._thread.native_id or 0

    def cpu_time(self) -> float:
        """Return the seconds of processor time that the call has used."""
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident or 0))

    def waits(self, *places: str) -> bool:
        """Say whether the call sleeps in the kernel, on a socket or in one of `places`."""
        thread = self._thread.native_id
        if thread is None or self.done():
            return False
        try:
            return waits_in(os.getpid(), thread, *(places or SOCKETS))
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            return False

    def until_it_waits(self, *places: str) -> None:
        """Return once the call sleeps in the kernel, which it must come to do rather than end."""
        until(lambda: self.done() or self.waits(*places), "the call sleeps in the kernel")
        assert not self.done(), f"the call did not wait: {self._future}"

    def result(self) -> T:
        """Wait for the call's end and return its result, or raise what it raised."""
        try:
            return self._future.result(PATIENCE)
        finally:
            if self.done():
                self._thread.join()
