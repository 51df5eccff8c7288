"""How a run is decided: by an exception, as soon as it is, from whatever is going on at the same time."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

from harness.outcome import Status
from harness.waiting import fail


class Verdict(Exception):
    """The run is decided. Raised as soon as it is; `place` is that of the step that decided."""

    def __init__(self, status: Status, reason: str, place: str | None = None) -> None:
        super().__init__(status, reason, place)
        self.status = status
        self.reason = reason
        self.place = place


@asynccontextmanager
async def tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """Enter a TaskGroup that raises what decided it: a bug before a Verdict, one with a place before one without."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        raise min(failures.exceptions, key=_rank) from None


def _rank(failure: BaseException) -> int:
    if isinstance(failure, Verdict):
        return 1 if failure.place else 2
    return 0


async def together(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run these at the same time; the first failure ends the others and is raised."""
    async with tasks() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


@asynccontextmanager
async def no_callback_fails() -> AsyncIterator[None]:
    """Let the body go on until a callback of this loop, anybody's, raises; then end the body, and raise that.

    asyncio would print it and go on without what the callback had to do. For whoever runs the loop, once.
    """
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[None] = loop.create_future()

    def take(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Only callbacks have a handle; and of those that fail while all is torn down, one can be raised.
        if "handle" not in context or failed.done():
            loop.default_exception_handler(context)
        else:
            fail(failed, context["exception"])

    async def wait() -> None:
        await failed

    loop.set_exception_handler(take)
    async with tasks() as group:
        waiting = group.create_task(wait())
        yield
        waiting.cancel()
    if failed.done() and not failed.cancelled():
        # It failed as the body came to its end.
        failed.result()
