"""What will be done in a run: what each worker gets, the stages of the scenario. Frozen, and made by `planner.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.topology.model import ExpectResult

NONE: Final = "none"
EXPORTED: Final = "exported"


@dataclass(frozen=True, slots=True)
class Grant:
    """An address that a worker finds at start: its number, its name there, and whose it is."""

    number: int
    name: str
    exporter: str


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """One worker, as it will be started. `service_port` is none, exported (-X 5) or unexported (-X -1)."""

    name: str
    program: str
    protocol: str
    service_port: str
    args: Mapping[str, Any]
    env: Mapping[str, str]
    grants: tuple[Grant, ...]
    ready_within: float
    stop_within: float


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step at a worker. `body` is what the worker is told, `text` what a reader is; `place` is file:line:column."""

    number: int
    place: str
    worker: str
    text: str
    body: Mapping[str, Any]
    expected: ExpectResult
    within: float


@dataclass(frozen=True, slots=True)
class Together:
    """Each worker performs its own steps in order; different workers do so at the same time."""

    steps: Mapping[str, tuple[StepPlan, ...]]


@dataclass(frozen=True, slots=True)
class KillPlan:
    """SIGKILL for one worker, once everything above has ended."""

    worker: str
    place: str
    within: float


Stage = Together | KillPlan


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: a cell at one point of its matrix (`axes`). Programs are looked up in `folder` first.

    `replaced` are the variables that whoever asked for the plan gave other values than the file.
    `stages` is None without a scenario; `exits` are the workers that are not to exit with 0.
    """

    cell: str
    file: str
    folder: Path
    axes: Mapping[str, Any]
    replaced: Mapping[str, Any]
    workers: Mapping[str, WorkerPlan]
    stages: tuple[Stage, ...] | None
    exits: Mapping[str, int]
    within: float

    def steps(self) -> list[StepPlan]:
        """Return all steps at workers, by number."""
        together = (stage for stage in self.stages or () if isinstance(stage, Together))
        steps = [step for stage in together for steps in stage.steps.values() for step in steps]
        return sorted(steps, key=lambda step: step.number)
