"""A run whose workers are started when they are asked for, one at a time or all, and go on until they are dismissed.

It is the supervisor's run without its verdict: the same zygote, the same confinement, the same members.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from harness import confinement
from harness.bench.runs import plan_of
from harness.events import WorkerStarted
from harness.journal import Journal
from harness.member import Member
from harness.plan import Plan
from harness.routing import Routing
from harness.spawn import Zygote
from harness.supervisor import STARTS_AT_ONCE
from harness.undertaker import Undertaker


class Stand:
    """A run in the hands of whoever measures; its workers are granted nothing. `waiting` are those not started yet."""

    def __init__(self, plan: Plan, zygote: Zygote, confinements: dict[str, Any]) -> None:
        self._journal = journal = Journal()
        self._undertaker = undertaker = Undertaker()
        self._plan = plan
        self._zygote = zygote
        self._confinements = confinements
        self._routing = Routing(plan, journal, undertaker, lambda *_: None, lambda *_: None)
        self.members = [Member(worker, journal, self._routing, undertaker) for worker in plan.workers.values()]
        self.waiting = list(self.members)

    @classmethod
    @asynccontextmanager
    async def of(cls, name: str, **variables: Any) -> AsyncIterator[Self]:
        """Set up the benchmark's topology `name`; leave nothing behind. Raises MissingLayerError, ZygoteError."""
        plan = plan_of(name, **variables)
        zygote = await Zygote.start()
        try:
            stand = cls(plan, zygote, await confinement.prepare(plan, zygote))
            try:
                stand._routing.prepare()
                stand._routing.all_started()
                await zygote.go()
                yield stand
            finally:
                await stand._dismiss()
        finally:
            await zygote.stop()

    async def start_one(self) -> Member:
        """Start the next worker and wait until it is ready."""
        member = self.waiting.pop()
        await member.start(self._zygote, str(self._plan.folder), self._confinements[member.plan.name])
        await member.wait_until_ready()
        return member

    async def start_all(self) -> None:
        """Start all that are left, as many at a time as the supervisor does."""
        window = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start() -> None:
            async with window:
                await self.start_one()

        await asyncio.gather(*(start() for _ in self.waiting))

    @property
    def pids(self) -> list[int]:
        """The process ids of all workers that were started, as the host has them."""
        return [event.pid for event in self._journal.events if isinstance(event, WorkerStarted)]

    async def _dismiss(self) -> None:
        for member in self.members:
            member.freeze()
        await asyncio.gather(*(member.bury() for member in self.members))
        self._routing.close()
        for member in self.members:
            member.close()
        self._undertaker.close()
