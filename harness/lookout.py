"""Has the workers of a run looked at when its first deadline passes, with all that the run knows of them."""

import asyncio
from collections.abc import Mapping

from harness.inspection import Hang, inspect
from harness.member import Member
from harness.plan import Plan, StepPlan
from harness.routing import Routing


class Lookout:
    """`hang` is what one look told, None without one. `pending` is the step that each worker is at (the director's)."""

    def __init__(
        self, plan: Plan, members: Mapping[str, Member], routing: Routing, pending: Mapping[str, StepPlan]
    ) -> None:
        self.hang: Hang | None = None
        self._members = members
        self._routing = routing
        self._pending = pending
        self._obeying = {step.worker for step in plan.steps()}
        self._looking = asyncio.Lock()

    async def look(self) -> None:
        """Look, unless somebody has looked already; whoever comes meanwhile waits for that."""
        async with self._looking:
            if self.hang is None:
                subjects = [
                    member.subject(self._pending.get(name), obeys=name in self._obeying)
                    for name, member in self._members.items()
                ]
                self.hang = await inspect(subjects, tuple(self._routing.ways()))
