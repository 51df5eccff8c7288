"""From a topology's cell to the plan of its run. Pure.

Whatever can be known to be wrong before anything starts is found here, all of it at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from harness.errors import Problem, TopologyError
from harness.plan import EXPORTED, NONE, Grant, KillPlan, Plan, Stage, StepPlan, Together, WorkerPlan
from harness.topology import Cell, as_text, read
from harness.topology.load import Location
from harness.topology.mistakes import nearest
from harness.topology.model import (
    Close,
    Connect,
    Expect,
    Kill,
    RecvMsg,
    SendMsg,
    Step,
    Topology,
    WorkerEntry,
    WorkerSettings,
    WorkerStep,
)
from sandbox.abi import FIRST_IMPORT
from sandbox.control import pack_data

READY_SECONDS: Final = 5.0
STOP_SECONDS: Final = 2.0

# What a step may name without any step having given the name; no import and no step may take it.
PORT_NAMES: Final = ("bound_socket", "address")
RESERVED: Final = (*PORT_NAMES, "INVALID")


def plans_of(file: Path, chosen: Mapping[str, Any] | None = None) -> list[Plan]:
    """Return the plan of each cell of `file` that has the `chosen` values on its axes; they also replace variables.

    Raises TopologyError with all that is wrong with the file.
    """
    chosen = chosen or {}
    cells, problems = read(file, chosen)
    plans = []
    for cell in cells:
        findings = _Findings(cell)
        plans.append(_plan(cell, chosen, findings))
        problems += findings.problems
    if problems:
        raise TopologyError(_once(problems))
    return plans


def _once(problems: Iterable[Problem]) -> list[Problem]:
    """Return each mistake once, where several cells made it and only the advice behind the semicolon differs."""
    return list({replace(problem, text=problem.text.partition(";")[0]): problem for problem in problems}.values())


def only_plan_of(file: Path, chosen: Mapping[str, Any]) -> Plan:
    """Return the plan of the one cell that `chosen` leaves. Raises TopologyError where it leaves several."""
    plans = plans_of(file, chosen)
    if len(plans) > 1:
        axes = ", ".join(axis for axis in plans[0].axes if axis not in chosen)
        raise TopologyError([Problem(str(file), 1, 1, f"a matrix of {len(plans)} cells; choose one by {axes}")])
    return plans[0]


def _plan(cell: Cell, chosen: Mapping[str, Any], findings: "_Findings") -> Plan:
    topology = cell.topology
    workers = {name: _worker(name, topology, findings) for name in topology.workers}
    workers = _granted(workers, topology, findings)
    scenario = _Scenario(cell, workers, findings)
    scenario.plan(topology.scenario or ())
    return Plan(
        cell=cell.id,
        file=cell.document.file,
        folder=cell.folder,
        axes={axis: cell.variables[axis] for axis in cell.axes},
        replaced={name: value for name, value in chosen.items() if name not in cell.axes},
        workers=workers,
        stages=None if topology.scenario is None else tuple(scenario.stages),
        exits=scenario.exits,
        within=topology.within,
    )


class _Findings:
    """Collects what is wrong with a cell that its model could not know.

    Where the model found something wrong already, what depends on it is not looked at: no mistake is told twice.
    """

    def __init__(self, cell: Cell) -> None:
        self.problems: list[Problem] = []
        self.document = cell.document
        self._damaged = cell.damaged
        sections = {path[0] for path in cell.damaged}
        self.variables_are_whole = sections.isdisjoint({"vars", "matrix"})
        self.names_are_whole = sections.isdisjoint({"workers", "kinds", "defaults", "routes", "scenario"})

    def is_damaged(self, path: Location) -> bool:
        """Say whether something harmless stands for what the file has here, or nothing does."""
        return path in self._damaged or path[:1] in self._damaged

    def is_whole(self, name: str, worker: WorkerEntry) -> bool:
        """Say whether nothing was wrong with all that makes up this worker."""
        parts = [("workers", name), ("defaults",), *([("kinds", worker.kind)] if worker.kind else [])]
        return not any(map(self.is_damaged, parts))

    def raw(self, path: tuple[str, int], key: str) -> str | None:
        """Return the text that a damaged entry has under `key`, where it is plain text."""
        entry = self.document.values[path[0]][path[1]]
        text = entry.get(key) if isinstance(entry, dict) else None
        return text if isinstance(text, str) and "{" not in text else None

    def add(self, path: Location, text: str, *, at_key: bool = False) -> None:
        """Take note of a mistake at `path`."""
        self.problems.append(self.document.problem(path, text, at_key=at_key))

    def known(self, name: str, options: Iterable[str], path: Location, what: str, *, at_key: bool = False) -> bool:
        """Say whether `name` is one of `options`, and make it a problem where it is not."""
        options = list(options)
        if name not in options:
            self.add(path, f"unknown {what} {name!r}{nearest(name, options)}", at_key=at_key)
        return name in options

    def known_worker(self, name: str, workers: Iterable[str], path: Location, *, at_key: bool = False) -> bool:
        """Say whether `name` is a worker's, and make it a problem where the file has no such worker."""
        if self.is_damaged(("workers", name)) and name not in workers:
            return False
        return self.known(name, workers, path, "worker", at_key=at_key)


def _worker(name: str, topology: Topology, findings: _Findings) -> WorkerPlan:
    """Return a worker without its grants."""
    path = ("workers", name)
    entry = topology.workers[name]
    layers: list[WorkerSettings] = [entry]
    is_whole = findings.is_whole(name, entry)
    if entry.kind in topology.kinds:
        layers.append(topology.kinds[entry.kind])
    elif entry.kind is not None and not findings.is_damaged(("kinds", entry.kind)):
        findings.known(entry.kind, topology.kinds, (*path, "kind"), "kind")
        is_whole = False
    layers.append(topology.defaults)
    program, protocol = _first(layers, "program"), _first(layers, "protocol")
    for key, value in (("program", program), ("protocol", protocol)):
        if value is None and is_whole:
            findings.add(path, f"{name} has no {key}: say it here, in its kind or under defaults")
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


def _granted(workers: Mapping[str, WorkerPlan], topology: Topology, findings: "_Findings") -> dict[str, WorkerPlan]:
    """Return the workers with what the routes grant them."""
    grants: dict[str, list[Grant]] = {name: [] for name in workers}
    whole = {name for name, entry in topology.workers.items() if findings.is_whole(name, entry)}
    for index, route in enumerate(topology.routes):
        path = ("routes", index)
        if findings.is_damaged(path):
            for key in ("grant", "to"):
                if (worker := findings.raw(path, key)) is not None:
                    findings.known_worker(worker, workers, (*path, key))
            continue
        known = [findings.known_worker(getattr(route, key), workers, (*path, key)) for key in ("grant", "to")]
        if not all(known):
            continue
        exporter, importer = workers[route.grant], workers[route.to]
        if exporter.service_port != EXPORTED and route.grant in whole:
            text = f"{route.grant} exports nothing: its service_port is {exporter.service_port}, not exported"
            findings.add((*path, "grant"), text)
        if exporter.protocol != importer.protocol and {route.grant, route.to} <= whole:
            text = f"{route.grant} speaks {exporter.protocol} and {route.to} {importer.protocol}"
            findings.add(path, f"{text}: an address is of use in its own protocol alone")
        name = route.as_ or route.grant
        held = grants[route.to]
        if any(grant.name == name for grant in held):
            text = f"{route.to} imports {name!r} already; choose another name with as"
            findings.add((*path, "as") if route.as_ else path, text)
        elif name in RESERVED:
            text = f"{name!r} is what every worker calls something of its own; choose another name with as"
            findings.add((*path, "as") if route.as_ else path, text)
        held.append(Grant(FIRST_IMPORT + len(held), name, route.grant))
    return {name: replace(worker, grants=tuple(grants[name])) for name, worker in workers.items()}


class _Scenario:
    """Cuts the steps into stages, following what each worker holds by then."""

    def __init__(self, cell: Cell, workers: Mapping[str, WorkerPlan], findings: _Findings) -> None:
        self.stages: list[Stage] = []
        self.exits: dict[str, int] = {}
        self._cell = cell
        self._workers = workers
        self._findings = findings
        self._together: list[StepPlan] = []
        self._names = {name: _names_at_start(worker) for name, worker in workers.items()}
        self._killed: dict[str, int] = {}

    def plan(self, steps: Iterable[Step]) -> None:
        """Take in the steps that exist in this cell."""
        for index, step in enumerate(steps):
            path = ("scenario", index)
            if self._findings.is_damaged(path):
                for key in ("at", "kill"):
                    if (worker := self._findings.raw(path, key)) is not None:
                        self._findings.known_worker(worker, self._workers, (*path, key))
            elif self._exists(step.when, path):
                self._take(step, path, index)
        self._end_stage()

    def _take(self, step: Step, path: Location, index: int) -> None:
        match step:
            case Kill():
                self._end_stage()
                self._kill(step, path)
            case Expect():
                self._end_stage()
                self._expect(step, path)
            case _:
                self._at_worker(step, index, path)

    def _exists(self, when: Mapping[str, Any], path: Location) -> bool:
        variables, axes = self._cell.variables, self._cell.axes
        exists = True
        for name, wanted in when.items():
            where = (*path, "when", name)
            if not self._findings.variables_are_whole and name not in variables:
                continue
            if not self._findings.known(name, variables, where, "variable or axis", at_key=True):
                continue
            # A variable may be given any value when imclab runs; an axis has those that it has.
            for index, value in enumerate(wanted if name in axes else ()):
                if value not in axes[name]:
                    text = f"{as_text(value)} is not on the axis {name!r}"
                    self._findings.add((*where, index), text + nearest(as_text(value), map(as_text, axes[name])))
            exists &= variables[name] in wanted
        return exists

    def _end_stage(self) -> None:
        if self._together:
            ordered = sorted(self._together, key=attrgetter("worker"))
            self.stages.append(
                Together({worker: tuple(steps) for worker, steps in groupby(ordered, key=attrgetter("worker"))})
            )
            self._together = []

    def _place(self, path: Location) -> tuple[int, str]:
        """Return the line of a step, and its file:line:column."""
        line, column = self._findings.document.places[path]
        return line, f"{self._findings.document.file}:{line}:{column}"

    def _alive(self, worker: str, path: Location) -> None:
        if worker in self._killed:
            self._findings.add(path, f"{worker} was killed in line {self._killed[worker]}")

    def _kill(self, step: Kill, path: Location) -> None:
        if self._findings.known_worker(step.kill, self._workers, (*path, "kill")):
            line, place = self._place(path)
            self._alive(step.kill, (*path, "kill"))
            self._killed[step.kill] = line
            self.stages.append(KillPlan(step.kill, place, step.within))

    def _expect(self, step: Expect, path: Location) -> None:
        for name, status in step.expect.exit.items():
            if self._findings.known_worker(name, self._workers, (*path, "expect", "exit", name), at_key=True):
                self.exits[name] = status

    def _at_worker(self, step: WorkerStep, index: int, path: Location) -> None:
        if self._findings.known_worker(step.at, self._workers, (*path, "at")):
            self._alive(step.at, (*path, "at"))
            if self._findings.names_are_whole:
                self._check_names(step, path)
            _, place = self._place(path)
            self._together.append(_step_plan(index, place, step))

    def _check_names(self, step: WorkerStep, path: Location) -> None:
        """Find names that stand for nothing yet, and take note of those that this step gives."""
        held = self._names[step.at]
        for key in ("bound", "address", "socket", "descriptor"):
            name = getattr(step, key, None)
            if name == "bound_socket" and name not in held:
                text = f"{step.at} has no service port: give it one, or say which BoundSocket"
                self._findings.add((*path, key), text)
            elif name is not None:
                self._check_held(step.at, name, (*path, key))
        if isinstance(step, SendMsg):
            for index, name in enumerate(step.descriptors):
                self._check_held(step.at, name, (*path, "descriptors", index))
        for index, name in enumerate(_names_given(step)):
            if name in RESERVED:
                text = f"{name!r} is what every worker calls something of its own; choose another name"
                self._findings.add((*path, "as", index), text)
        if step.expect.error is None:
            held |= dict.fromkeys(_names_given(step))
        elif len(step.expect.model_fields_set) > 1:
            self._findings.add((*path, "expect"), "an error, and nothing else: a step that fails has no other result")

    def _check_held(self, worker: str, name: str, path: Location) -> None:
        held = self._names[worker]
        if name not in held:
            self._findings.add(path, f"{worker} holds no {name!r} here{nearest(name, held)}")


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


def _names_at_start(worker: WorkerPlan) -> dict[str, None]:
    port = PORT_NAMES if worker.service_port != NONE else ()
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
