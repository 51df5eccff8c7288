"""What the run of an experiment has shown, and what an answer is. Pure: a plan and its outcome in, facts out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.compare.settings import Settings
from harness.events import Reported, StepEnded, WorkerKilled
from harness.outcome import Outcome
from harness.plan import Plan


@dataclass(frozen=True, slots=True)
class Answer:
    """What is in a cell, and why.

    text        as short as it can be said
    evidence    errnos, counts and times (in seconds) that it was read from, by what they are of
    depends_on  the settings that it is true with, by name
    number      of an answer that depends on such: what it counts
    """

    text: str
    evidence: Mapping[str, object] = field(default_factory=dict)
    depends_on: Mapping[str, int] = field(default_factory=dict)
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """One run that passed."""

    plan: Plan
    outcome: Outcome
    settings: Settings

    @property
    def protocol(self) -> str:
        """The protocol that it was about."""
        return str(self.plan.axes["protocol"])

    def reports(self, worker: str) -> Mapping[str, Any]:
        """Return what a worker has reported."""
        return self.outcome.workers[worker].reports

    def results(self, worker: str, do: str) -> list[Mapping[str, Any]]:
        """Return the results of a worker's steps of this kind, in order."""
        steps = {step.number: step.body["do"] for step in self.plan.steps()}
        ended = (event for event in self.outcome.events if isinstance(event, StepEnded))
        return [event.result for event in ended if event.worker == worker and steps[event.step] == do]

    def seconds_from_kill(self, killed: str, worker: str, key: str) -> float:
        """Return how long after the one was killed the supervisor heard a report of the other."""
        killed_at = (e.at for e in self.outcome.events if isinstance(e, WorkerKilled) and e.worker == killed)
        told_at = (e.at for e in self.outcome.events if isinstance(e, Reported) and (e.worker, e.key) == (worker, key))
        return next(told_at) - next(killed_at)

    def of(self, *names: str) -> dict[str, int]:
        """Return the settings of these names."""
        return {name: self.settings[name] for name in names}
