"""Has the workers of a run looked at when its first deadline passes, with all that the run knows of them."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from harness.events import AddressGranted, StepEnded
from harness.inspection import Hang, inspect
from harness.inspection.wiring import Named
from harness.journal import Journal
from harness.member import Member
from harness.plan import Plan, StepPlan
from harness.routing import Routing

# Of the kind that a worker says that a descriptor has, so much is shown.
KIND_MAX: Final = 40


class Lookout:
    """`hang` is what one look told, None without one. `pending` is the step that each worker is at (the director's)."""

    def __init__(
        self,
        plan: Plan,
        members: Mapping[str, Member],
        routing: Routing,
        journal: Journal,
        pending: Mapping[str, StepPlan],
    ) -> None:
        self.hang: Hang | None = None
        self._members = members
        self._routing = routing
        self._journal = journal
        self._pending = pending
        self._steps = {step.number: step for step in plan.steps()}
        self._looking = asyncio.Lock()

    async def look(self) -> None:
        """Look, unless somebody has looked already; whoever comes meanwhile waits for that."""
        async with self._looking:
            if self.hang is None:
                named: dict[str, dict[str, Named]] = {name: {} for name in self._members}
                for worker, identity, what in self._names():
                    named[worker][identity] = what
                subjects = [
                    member.subject(self._text(name), named[name], tuple(self._owed(member)))
                    for name, member in self._members.items()
                ]
                self.hang = await inspect(subjects, tuple(self._routing.ways()))

    def _text(self, worker: str) -> str:
        return self._pending[worker].text if worker in self._pending else ""

    def _names(self) -> Iterator[tuple[str, str, Named]]:
        """Yield what workers call what they have been given or made since they began: worker, identity, name."""
        for event in self._journal.events:
            match event:
                case StepEnded():
                    named = named_by(self._steps[event.step].body, event.result)
                    yield from ((event.worker, identity, what) for identity, what in named)
                case AddressGranted():
                    yield event.worker, event.identity, Named(event.name, "SocketAddress")
                case _:
                    pass

    def _owed(self, member: Member) -> Iterator[tuple[str, str]]:
        """Yield exporter and export of each address that a worker looks for now, and that nobody has exported yet.

        Between its steps a worker looks for the next one; one that has none may look for anything.
        """
        name = member.plan.name
        pending = self._pending.get(name)
        obeys = any(step.worker == name for step in self._steps.values())
        granted = {
            event.name for event in self._journal.events if isinstance(event, AddressGranted) and event.worker == name
        }
        for grant in member.plan.late:
            needed = grant.name in names_in(pending.body) if pending else not obeys
            if needed and grant.name not in granted:
                yield grant.exporter, grant.export


def names_in(body: Mapping[str, Any]) -> set[str]:
    """Return all that a step may mean by the name that it has for a descriptor."""
    return {value for value in body.values() if isinstance(value, str)} | set(body.get("descriptors", ()))


def named_by(body: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[tuple[str, Named]]:
    """Yield what a step's descriptors are called, by identity, as far as the worker told."""
    for name, described in zip(body.get("as", ()), result.get("descriptors", ()), strict=False):
        match described:
            case {"kind": str(kind), "identity": str(identity)}:
                yield identity, Named(name, kind[:KIND_MAX])
