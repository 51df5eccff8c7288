"""SIGINT and SIGTERM, for a command that has to leave nothing behind.

Outside a run they raise KeyboardInterrupt at once. During a run they cancel it, so that it is torn down in order. One
that came at an awkward moment (libraries swallow a KeyboardInterrupt now and then) is remembered: no run begins after
it.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Interrupts:
    """Who is told when somebody wants this process to end. Use it in the main thread, once."""

    def __init__(self) -> None:
        self._seen = False
        self._running = False
        self._task: asyncio.Task[Any] | None = None

    def listen(self) -> None:
        """Take over both signals: also where a shell started us in the background, with SIGINT ignored."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)

    def stop_listening(self) -> None:
        """Ignore both signals from now on: nothing is left to interrupt."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def _interrupt(self, *_: object) -> None:
        if self._seen:
            # Once is enough: a second cancellation would cut the tear-down short, which takes seconds at most.
            return
        self._seen = True
        if not self._running:
            raise KeyboardInterrupt
        if self._task is not None and not self._task.done():
            self._task.cancel()
            # Wakes a loop that waits in select().
            self._task.get_loop().call_soon_threadsafe(lambda: None)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on an event loop of its own. Raises KeyboardInterrupt where it was interrupted."""
        self._running = True
        try:
            return asyncio.run(self._interruptible(coroutine))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            self._running = False
            self._task = None
            if self._seen:
                raise KeyboardInterrupt

    async def _interruptible(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self._task = asyncio.current_task()
        if self._seen:
            coroutine.close()
            raise asyncio.CancelledError
        return await coroutine
