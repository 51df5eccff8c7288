"""How a run is decided: by an exception, as soon as it is, from whatever is going on at the same time."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

from harness.outcome import Status


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
