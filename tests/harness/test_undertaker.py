"""What strangers sent is closed at once, however deep in it something lies that would make whoever closes it wait."""

import asyncio
import errno
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from harness import undertaker
from harness.undertaker import Bearer, Undertaker, close_all
from tests.kernel import OpenDescriptors, until

LINGERS = 2


@contextmanager
def lingering(depth: int) -> Iterator[int]:
    """Yield an fd that makes who closes it last wait for LINGERS seconds: a TCP socket, in `depth` queues."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        sock = socket.create_connection(listener.getsockname())
        stack.enter_context(listener.accept()[0])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGERS))
        sock.setblocking(False)  # noqa: FBT003
        with suppress(BlockingIOError):
            while True:
                sock.send(b"x" * 65536)
        sock.setblocking(True)  # noqa: FBT003
        outer = sock
        for _ in range(depth):
            left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            socket.send_fds(left, [b"x"], [outer.fileno()])
            outer.close()
            outer = right
            stack.enter_context(left)
        yield outer.detach()


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_nobody_waits_for_what_lingers(depth: int, open_descriptors: OpenDescriptors) -> None:
    with lingering(depth) as fd:
        began = time.monotonic()
        close_all([fd])
        assert time.monotonic() - began < LINGERS / 2
        assert fd not in open_descriptors.new()


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_whoever_just_closes_it_does_wait(depth: int) -> None:
    with lingering(depth) as fd:
        began = time.monotonic()
        os.close(fd)
        assert time.monotonic() - began > LINGERS / 2


def test_what_is_closed_is_really_closed() -> None:
    left, right = socket.socketpair()
    with right:
        close_all([left.detach()])
        right.settimeout(5)
        assert right.recv(1) == b""


def test_whoever_holds_it_meanwhile_holds_nothing_else() -> None:
    ours, theirs = socket.socketpair()
    buried = os.dup(0)
    bearer = Bearer([buried])
    bearer.start()
    bearer.holds.wait()
    try:
        ours.close()
        theirs.settimeout(5)
        assert theirs.recv(1) == b""
    finally:
        bearer.may_go.set()
        bearer.join()
        theirs.close()
        os.close(buried)


def test_signals_are_not_for_whoever_buries(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has closed what their handlers write to."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    blocked = []
    run = Bearer.run

    def look(bearer: Bearer) -> None:
        blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        run(bearer)

    monkeypatch.setattr(Bearer, "run", look)
    close_all([os.dup(0)])
    assert blocked == [signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_an_error_from_a_close_keeps_neither_the_others_nor_the_thread(
    monkeypatch: pytest.MonkeyPatch, open_descriptors: OpenDescriptors
) -> None:
    fds = [os.dup(0), os.dup(0)]
    close = os.close

    def failing(fd: int) -> None:
        close(fd)
        if fd in fds:
            raise OSError(errno.EIO, "late")

    monkeypatch.setattr(os, "close", failing)
    close_all(fds)
    monkeypatch.undo()
    assert open_descriptors.only()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "bearer"], "the bearer is gone")


def test_no_thread_stays() -> None:
    close_all([os.dup(0)])
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "bearer"], "the bearer is gone")


def test_without_threads_or_unshare_it_is_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, open_descriptors: OpenDescriptors
) -> None:
    class Forbidden:
        @staticmethod
        def unshare(_: int) -> int:
            return -1

    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(undertaker, "_LIBC", Forbidden)
    close_all([os.dup(0)])
    monkeypatch.setattr(undertaker.Bearer, "start", no_thread)
    close_all([os.dup(0)])
    assert open_descriptors.only()


def test_what_is_buried_together_is_closed_by_one_thread_soon(
    monkeypatch: pytest.MonkeyPatch, open_descriptors: OpenDescriptors
) -> None:
    graves: list[int] = []

    def counted(fds: list[int]) -> None:
        graves.append(len(fds))
        close_all(fds)

    async def bury() -> None:
        monkeypatch.setattr(undertaker, "close_all", counted)
        buries = Undertaker()
        for _ in range(10):
            buries.bury([os.dup(0), -1, os.dup(0)])
        assert graves == []
        await asyncio.sleep(10 * undertaker.TOGETHER_SECONDS)
        buries.bury(os.dup(0) for _ in range(undertaker.TOGETHER_MAX + 1))
        assert graves == [20, undertaker.TOGETHER_MAX + 1]
        buries.bury([os.dup(0)])
        buries.close()
        buries.close()

    asyncio.run(bury())
    assert graves == [20, undertaker.TOGETHER_MAX + 1, 1]
    assert open_descriptors.only()
