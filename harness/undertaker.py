"""Closes what strangers sent, without ever waiting for it.

Whoever closes the last descriptor of a TCP socket that has SO_LINGER waits for as long as its sender chose. It need not
even be that socket: one that lies in the queue of a socket, in the queue of a socket, is closed along with the outer
one. Only a task that is exiting is spared. So a thread with a file table of its own holds what we close, and exits:

    supervisor:  bury(fds) … start a thread ─────> close(fds): never the last ones ──────────┐
    thread:                      unshare(CLONE_FILES): a copy of these fds ───────── exits: the last ones, at once

It copies all that we have, and closes the rest before we go on: nobody may find something open that we have closed. No
other thread buries meanwhile, for of what that one buries the last descriptor might be closed here, by no exiting task.

Where unshare(2) is forbidden, the descriptors themselves are closed without lingering, and what lies in them is not.
"""

import _signal  # type: ignore[import-not-found]  # signal wraps each number in an enum
import asyncio
import ctypes
import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Final

from sandbox.transport import discard

# What becomes free within so short a time is closed by one thread: each has to copy all descriptors that we have. Not
# too many together, for as long as they are here they are missing elsewhere.
TOGETHER_SECONDS: Final = 0.002
TOGETHER_MAX: Final = 32
# linux/sched.h
CLONE_FILES: Final = 0x400

# Of descriptors; the kernel stops at the last.
NUMBERS: Final = 2**31 - 1

_ALL_SIGNALS: Final = frozenset(_signal.valid_signals())
_ONE_AT_A_TIME: Final = threading.Lock()
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Undertaker:
    """Owns what it is given, for a moment."""

    def __init__(self) -> None:
        self._fds: list[int] = []
        self._timer: asyncio.TimerHandle | None = None

    def bury(self, fds: Iterable[int]) -> None:
        """Take over `fds` and close them soon; what is -1 was closed already."""
        self._fds += (fd for fd in fds if fd >= 0)
        if len(self._fds) > TOGETHER_MAX:
            self.close()
        elif self._fds and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TOGETHER_SECONDS, self.close)

    def close(self) -> None:
        """Close all that is here."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        fds, self._fds = self._fds, []
        if fds:
            close_all(fds)


def close_all(fds: Iterable[int]) -> None:
    """Close `fds` without waiting for anything that is in them."""
    fds = list(fds)
    bearer = Bearer(fds)
    with _ONE_AT_A_TIME:
        # It has closed whatever a handler of signals may write to.
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _ALL_SIGNALS)
        try:
            bearer.start()
        except RuntimeError:
            # No thread can be started.
            discard(fds)
            return
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        bearer.holds.wait()
        if bearer.failed:
            discard(fds)
        else:
            for fd in fds:
                # Whatever its file says to that, it is closed.
                with suppress(OSError):
                    os.close(fd)
        bearer.may_go.set()


class Bearer(threading.Thread):
    """Holds a copy of `fds`, and of nothing else, until it `may_go`; or has `failed` to copy them."""

    def __init__(self, fds: Iterable[int]) -> None:
        super().__init__(name="bearer", daemon=True)
        self._edges = (-1, *sorted(fds), NUMBERS)
        self.holds = threading.Event()
        self.may_go = threading.Event()
        self.failed = False

    def run(self) -> None:
        """Copy, wait, exit."""
        self.failed = _LIBC.unshare(CLONE_FILES) != 0
        if not self.failed:
            for before, after in pairwise(self._edges):
                os.closerange(before + 1, after)
        self.holds.set()
        self.may_go.wait()
