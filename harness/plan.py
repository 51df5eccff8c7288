"""What will be done in a run: what each worker gets, the stages of the scenario. Frozen, and made by `planner`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from harness.topology.steps import ExpectResult
from sandbox.confinement.policy import Policy

NONE: Final = "none"
EXPORTED: Final = "exported"

# The export that a worker's service port is; others have a name.
MAIN: Final = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """A SocketAddress that a worker is granted: its name there, whose it is, and under which name that one exports it.

    `facet`: not the address itself, but one that leads there. `at_start`: it is there before the worker runs; else it
    comes in a message of the control channel, once it is exported.
    """

    name: str
    exporter: str
    export: str
    facet: bool
    at_start: bool


@dataclass(frozen=True, slots=True)
class HostFilePlan:
    """A host's file, opened for `mode`: r, w or rw."""

    path: Path
    mode: str


@dataclass(frozen=True, slots=True)
class ChannelEnd:
    """One end, 0 or 1, of the run's channel of this number."""

    channel: int
    end: int


class Own(Enum):
    """What a worker has of its own, whatever the topology grants it."""

    NOTHING = "nothing"
    STDOUT = "stdout"
    STDERR = "stderr"
    SERVICE_PORT = "service port"
    ADDRESS = "address"
    CONTROL_CHANNEL = "control channel"


@dataclass(frozen=True, slots=True)
class Slot:
    """One entry of a worker's descriptor table: its number, its name there, its kind, and where it comes from.

    `kind` is that of `sandbox.descriptors`, or of the host for 0, 1 and 2.
    """

    number: int
    name: str
    kind: str
    origin: Own | Grant | HostFilePlan | ChannelEnd


class Readiness(Enum):
    """By what the supervisor knows that a worker is ready."""

    ANNOUNCEMENT = "its announcement"
    EXPORT = "the export of its address"
    START = "its start"


# High enough that nobody's sends fail: the kernel compares what a user has in flight with the sender's limit.
OPEN_FILES: Final = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may use: bytes, a number of descriptors, seconds of the processor's time and of anybody's.

    None is as much as the supervisor has itself, but of descriptors, where that is OPEN_FILES, and of what it writes to
    stdout and stderr, where that is `quotas.OUTPUT_BYTES`.
    """

    address_space: int | None
    open_files: int | None
    cpu: float | None
    wall: float | None
    output: int | None


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """One worker, as it will be started: a Python `program`, or a native `command` (file, argv[0], …).

    `layout` is that of its messages, `policy` what confines it. `service_port` is none, exported
    (-X 5) or unexported (-X -1). `slots` is its whole descriptor table, from 0 on without a hole. `grants` are all that
    it is granted, early or late. `exports` are the names of the addresses that it may export by itself; MAIN is one
    that takes the place of a service port of our making.
    """

    name: str
    program: str
    command: tuple[str, ...]
    protocol: str
    layout: str
    policy: Policy
    service_port: str
    args: Mapping[str, Any]
    env: Mapping[str, str]
    slots: tuple[Slot, ...]
    grants: tuple[Grant, ...]
    exports: frozenset[str]
    limits: Limits
    ready_by: Readiness
    ready_within: float
    stop_within: float

    @property
    def late(self) -> tuple[Grant, ...]:
        """What it is granted by messages."""
        return tuple(grant for grant in self.grants if not grant.at_start)


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


class Act(Enum):
    """What is done to a worker by a signal."""

    KILL = "kill"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class ActPlan:
    """A signal for one worker, once everything above has ended; ends when it has had its effect."""

    act: Act
    worker: str
    place: str
    within: float


@dataclass(frozen=True, slots=True)
class RevokePlan:
    """The facets through which `importer` holds this address of the exporter's lead nowhere from now on."""

    exporter: str
    export: str
    importer: str


@dataclass(frozen=True, slots=True)
class WaitPlan:
    """Let so many seconds pass."""

    seconds: float


# Stands for whatever a worker may report.
ANYTHING: Final = object()


@dataclass(frozen=True, slots=True)
class AwaitPlan:
    """Wait until these workers have ended and those have reported: by worker and key, the value or ANYTHING."""

    place: str
    exits: tuple[str, ...]
    reports: Mapping[str, Mapping[str, Any]]
    within: float


@dataclass(frozen=True, slots=True)
class ParallelPlan:
    """Stages that follow one another in each branch, while the branches go on at the same time."""

    branches: tuple[tuple["Stage", ...], ...]


Stage = Together | ActPlan | RevokePlan | WaitPlan | AwaitPlan | ParallelPlan


def steps_in(stages: Iterable[Stage]) -> Iterator[StepPlan]:
    """Yield all steps at workers."""
    for stage in stages:
        match stage:
            case Together(steps):
                for in_order in steps.values():
                    yield from in_order
            case ParallelPlan(branches):
                for branch in branches:
                    yield from steps_in(branch)


def workers_in(stages: Iterable[Stage]) -> set[str]:
    """Return the workers that do something or to which something is done."""
    workers = set[str]()
    for stage in stages:
        match stage:
            case Together(steps):
                workers |= steps.keys()
            case ActPlan(worker=worker):
                workers.add(worker)
            case ParallelPlan(branches):
                workers |= set[str]().union(*map(workers_in, branches))
    return workers


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: a cell at one point of its matrix (`axes`). Programs are looked up in `folder` first.

    `replaced` are the variables that whoever asked for the plan gave other values than the file. `channels` is how many
    there are. `stages` is None without a scenario; `exits` are the workers that are not to exit with 0. `refusals` are
    the reasons why it cannot be run at all, and `is_refused` says that the file expects some.
    """

    cell: str
    file: str
    folder: Path
    axes: Mapping[str, Any]
    replaced: Mapping[str, Any]
    workers: Mapping[str, WorkerPlan]
    channels: int
    stages: tuple[Stage, ...] | None
    exits: Mapping[str, int]
    refusals: tuple[str, ...]
    is_refused: bool
    within: float

    def steps(self) -> list[StepPlan]:
        """Return all steps at workers, by number."""
        return sorted(steps_in(self.stages or ()), key=lambda step: step.number)

    def edges(self) -> Iterator[tuple[str, Grant]]:
        """Yield every grant of the run with the name of who is granted it."""
        for worker in self.workers.values():
            for grant in worker.grants:
                yield worker.name, grant
