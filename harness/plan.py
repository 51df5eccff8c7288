"""From a topology's cell to what will be done: descriptor tables, stages of the scenario. Pure.

Whatever can be known to be wrong before anything starts is found here, all of it at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from harness.errors import Problem, TopologyError
from harness.topology import Cell
from harness.topology.load import Location
from harness.topology.mistakes import nearest
from harness.topology.model import (
    Close,
    Connect,
    Expect,
    ExpectResult,
    Kill,
    RecvMsg,
    SendMsg,
    WorkerEntry,
    WorkerSettings,
    WorkerStep,
)
from sandbox.abi import CONTROL_CHANNEL, FIRST_IMPORT, SERVICE_PORT, SERVICE_PORT_ADDRESS
from sandbox.control import pack_data

READY_SECONDS: Final = 5.0
STOP_SECONDS: Final = 2.0

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

    def descriptors(self) -> list[tuple[int, str]]:
        """Return what lies at each number."""
        has_port = self.service_port != NONE
        return [
            (0, "/dev/null"),
            (1, "pipe (stdout)"),
            (2, "pipe (stderr)"),
            (SERVICE_PORT, "BoundSocket (service port)" if has_port else "/dev/null"),
            (SERVICE_PORT_ADDRESS, "SocketAddress (of the service port)" if has_port else "/dev/null"),
            (CONTROL_CHANNEL, "ConnectedSocket (control channel)"),
            *((grant.number, f"SocketAddress {grant.name!r} (of {grant.exporter})") for grant in self.grants),
        ]


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
    """One run. `stages` is None without a scenario; `exits` are the workers that are not to exit with 0."""

    cell: str
    file: str
    workers: Mapping[str, WorkerPlan]
    stages: tuple[Stage, ...] | None
    exits: Mapping[str, int]
    within: float
    folder: Path = field(default_factory=Path)

    def steps(self) -> list[StepPlan]:
        """Return all steps at workers, by number."""
        together = (stage for stage in self.stages or () if isinstance(stage, Together))
        steps = [step for stage in together for steps in stage.steps.values() for step in steps]
        return sorted(steps, key=lambda step: step.number)


def plan_of(cell: Cell) -> Plan:
    """Return the plan of one cell. Raises TopologyError with all that is wrong with it."""
    return _Planner(cell).plan()


class _Planner:
    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._topology = cell.topology
        self._problems: list[Problem] = []

    def plan(self) -> Plan:
        workers = {name: self._worker(name, entry) for name, entry in self._topology.workers.items()}
        grants = self._grants(workers)
        workers = {name: _with_grants(worker, grants[name]) for name, worker in workers.items()}
        stages, exits = self._scenario(workers)
        if self._problems:
            raise TopologyError(self._problems)
        document = self._cell.document
        return Plan(self._cell.id, document.file, workers, stages, exits, self._topology.within, self._cell.folder)

    def _problem(self, path: Location, text: str) -> None:
        self._problems.append(self._cell.document.problem(path, text))

    def _known(self, name: str, options: Iterable[str], path: Location, what: str) -> bool:
        """Say whether `name` is one of `options`, and make it a problem where it is not."""
        options = list(options)
        if name in options:
            return True
        self._problem(path, f"unknown {what} {name!r}{nearest(name, options)}")
        return False

    # Workers

    def _worker(self, name: str, entry: WorkerEntry) -> WorkerPlan:
        path = ("workers", name)
        layers: list[WorkerSettings] = [entry]
        kinds = self._topology.kinds
        if entry.kind is not None and self._known(entry.kind, kinds, (*path, "kind"), "kind"):
            layers.append(kinds[entry.kind])
        layers.append(self._topology.defaults)
        program, protocol = _first(layers, "program"), _first(layers, "protocol")
        for key, value in (("program", program), ("protocol", protocol)):
            if value is None:
                self._problem(path, f"{name} has no {key}: say it here, in its kind or under defaults")
        ready, stop = _first(layers, "ready"), _first(layers, "stop")
        return WorkerPlan(
            name=name,
            program=program or "",
            protocol=protocol or "",
            service_port=_first(layers, "service_port") or NONE,
            args=_merged(layers, "args"),
            env=_merged(layers, "env"),
            grants=(),
            ready_within=ready.within if ready else READY_SECONDS,
            stop_within=stop.within if stop else STOP_SECONDS,
        )

    # Routes

    def _grants(self, workers: Mapping[str, WorkerPlan]) -> dict[str, list[Grant]]:
        grants: dict[str, list[Grant]] = {name: [] for name in workers}
        for index, route in enumerate(self._topology.routes):
            path = ("routes", index)
            known = [self._known(getattr(route, key), workers, (*path, key), "worker") for key in ("grant", "to")]
            if not all(known):
                continue
            exporter, importer = workers[route.grant], workers[route.to]
            if exporter.service_port != EXPORTED:
                text = f"{route.grant} exports nothing: its service_port is {exporter.service_port}, not exported"
                self._problem((*path, "grant"), text)
            if exporter.protocol != importer.protocol:
                text = f"{route.grant} speaks {exporter.protocol} and {route.to} {importer.protocol}"
                self._problem(path, f"{text}: an address is of use in its own protocol alone")
            name = route.as_ or route.grant
            held = grants[route.to]
            if any(grant.name == name for grant in held):
                self._problem((*path, "as"), f"{route.to} imports a {name!r} already; choose another name with as")
            held.append(Grant(FIRST_IMPORT + len(held), name, route.grant))
        return grants

    # Scenario

    def _scenario(self, workers: Mapping[str, WorkerPlan]) -> tuple[tuple[Stage, ...] | None, dict[str, int]]:
        if self._topology.scenario is None:
            return None, {}
        stages: list[Stage] = []
        exits: dict[str, int] = {}
        together: list[StepPlan] = []
        names = {name: _names_at_start(worker) for name, worker in workers.items()}
        killed: dict[str, int] = {}

        def end_stage() -> None:
            if together:
                stages.append(Together(_by_worker(together)))
                together.clear()

        for index, step in enumerate(self._topology.scenario):
            path = ("scenario", index)
            if not self._exists(step.when, path):
                continue
            line, column = self._cell.document.places[path]
            place = f"{self._cell.document.file}:{line}:{column}"
            match step:
                case WorkerStep():
                    if not self._known(step.at, workers, (*path, "at"), "worker"):
                        continue
                    if step.at in killed:
                        self._problem((*path, "at"), f"{step.at} was killed in line {killed[step.at]}")
                    self._check_names(step, path, names[step.at])
                    together.append(_step_plan(index, place, step))
                case Kill():
                    end_stage()
                    if self._known(step.kill, workers, (*path, "kill"), "worker"):
                        if step.kill in killed:
                            self._problem((*path, "kill"), f"{step.kill} was killed in line {killed[step.kill]}")
                        killed[step.kill] = line
                        stages.append(KillPlan(step.kill, place, step.within))
                case Expect():
                    end_stage()
                    for name, status in step.expect.exit.items():
                        if self._known(name, workers, (*path, "expect", "exit", name), "worker"):
                            exits[name] = status
        end_stage()
        return tuple(stages), exits

    def _exists(self, when: Mapping[str, Any], path: Location) -> bool:
        """Say whether a step with this condition exists in this cell."""
        variables = self._cell.variables
        exists = True
        for name, wanted in when.items():
            if self._known(name, variables, (*path, "when", name), "variable or axis"):
                exists &= variables[name] in (wanted if isinstance(wanted, tuple) else (wanted,))
        return exists

    def _check_names(self, step: WorkerStep, path: Location, known: dict[str, None]) -> None:
        """Find names that stand for nothing yet, and remember those that this step gives."""
        for key in ("bound", "address", "socket", "descriptor"):
            name = getattr(step, key, None)
            if name == "bound_socket" and name not in known:
                self._problem(path, f"{step.at} has no service port: give it one, or say which BoundSocket")
            elif name is not None:
                self._known(name, known, (*path, key), f"descriptor of {step.at},")
        if isinstance(step, SendMsg):
            for index, name in enumerate(step.descriptors):
                self._known(name, known, (*path, "descriptors", index), f"descriptor of {step.at},")
        expected = step.expect
        if expected.error is not None:
            if len(expected.model_fields_set) > 1:
                self._problem((*path, "expect"), "an error, and nothing else: a step that fails has no other result")
        else:
            known |= dict.fromkeys(_names_given(step))


def _first(layers: Sequence[WorkerSettings], key: str) -> Any:
    """Return the nearest layer's value of `key`, None where none says it."""
    return next((value for layer in layers if (value := getattr(layer, key)) is not None), None)


def _merged(layers: Sequence[WorkerSettings], key: str) -> dict[str, Any]:
    """Return all layers' maps under `key` in one, the nearer layer's members winning."""
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged = _merge(merged, getattr(layer, key))
    return merged


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merge(under[key], over[key])
        for key in under.keys() & over.keys()
        if isinstance(under[key], dict) and isinstance(over[key], dict)
    }
    return {**under, **over, **both}


def _with_grants(worker: WorkerPlan, grants: Sequence[Grant]) -> WorkerPlan:
    return replace(worker, grants=tuple(grants))


def _by_worker(steps: Sequence[StepPlan]) -> dict[str, tuple[StepPlan, ...]]:
    ordered = sorted(steps, key=lambda step: step.worker)
    return {worker: tuple(mine) for worker, mine in groupby(ordered, key=lambda step: step.worker)}


def _names_at_start(worker: WorkerPlan) -> dict[str, None]:
    port = ("bound_socket", "address") if worker.service_port != NONE else ()
    return dict.fromkeys([*(grant.name for grant in worker.grants), *port, "INVALID"])


def _names_given(step: WorkerStep) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(step, "as_", ())
    return names


def _step_plan(number: int, place: str, step: WorkerStep) -> StepPlan:
    body = step.model_dump(exclude={"at", "within", "when", "expect", "as_"}) | {"as": _names_given(step)}
    if isinstance(step, SendMsg):
        body["data"] = pack_data(step.data)
    return StepPlan(number, place, step.at, _text(step), body, step.expect, step.within)


def _text(step: WorkerStep) -> str:
    """Return the step as a reader of the account sees it."""
    match step:
        case Connect(address=address):
            text = f"connect to {address}"
        case SendMsg(socket=socket, data=data, descriptors=descriptors):
            shown = f"{data} bytes" if isinstance(data, int) else repr(data.decode("utf-8", "backslashreplace"))
            text = f"sendmsg {shown} on {socket}" + "".join(f" + {name}" for name in descriptors)
        case RecvMsg(socket=socket):
            text = f"recvmsg on {socket}"
        case Close(descriptor=descriptor):
            text = f"close {descriptor}"
        case _:
            text = step.do
    return text
