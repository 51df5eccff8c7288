"""A run whose workers are started when they are asked for, one at a time or all, and go on until they are dismissed.

It is the supervisor's own run, in other hands: no scenario, no verdict.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from harness.bench.runs import NotMeasured, plan_of
from harness.events import Event, WorkerStarted
from harness.member import Member
from harness.supervisor import STARTS_AT_ONCE, Run
from harness.verdict import Verdict


class Stand:
    """A run in the hands of whoever measures."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._waiting = iter(run.members.values())

    @classmethod
    @asynccontextmanager
    async def of(cls, name: str, **variables: Any) -> AsyncIterator[Self]:
        """Set up the benchmark's topology `name`; leave nothing behind. Raises NotMeasured, MissingLayerError."""
        run = Run(plan_of(name, **variables))
        try:
            await run.prepare()
            await run.go()
            yield cls(run)
        except Verdict as verdict:
            raise NotMeasured(verdict.reason) from None
        finally:
            await run.tear_down()

    async def start_one(self) -> Member:
        """Start the next worker and wait until it is ready."""
        member = next(self._waiting)
        await self._run.start(member)
        await member.wait_until_ready()
        return member

    async def start_all(self) -> None:
        """Start all, as many at a time as the supervisor does."""
        window = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start() -> None:
            async with window:
                await self.start_one()

        await asyncio.gather(*(start() for _ in self._run.members))

    @property
    def events(self) -> list[Event]:
        """What has happened so far."""
        return list(self._run.journal.events)

    @property
    def pids(self) -> list[int]:
        """The process ids of all workers that were started, as the host has them."""
        return [event.pid for event in self._run.journal.events if isinstance(event, WorkerStarted)]
