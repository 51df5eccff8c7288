"""From the steps of a scenario to its stages, following what each worker holds by then."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from harness.plan import NONE, ChannelEnd, HostFilePlan, KillPlan, Stage, StepPlan, Together, WorkerPlan
from harness.planner.findings import Findings
from harness.planner.selectors import Selectors, for_replica, index_of
from harness.planner.workers import RESERVED
from harness.topology import Cell, as_text
from harness.topology.load import Location
from harness.topology.mistakes import nearest
from harness.topology.model import (
    Barrier,
    Close,
    Connect,
    Expect,
    ExpectMessage,
    Export,
    Kill,
    RecvMsg,
    SendMsg,
    Step,
    WorkerStep,
)
from sandbox.abi import ADDRESS_NAME, BOUND_SOCKET_NAME
from sandbox.control import pack_data

# What a step may name without any step having given the name.
PORT_NAMES: Final = (BOUND_SOCKET_NAME, ADDRESS_NAME)


class Scenario:
    """Cuts the steps into stages, following what each worker holds by then."""

    def __init__(self, cell: Cell, workers: Mapping[str, WorkerPlan], selectors: Selectors, findings: Findings) -> None:
        self.stages: list[Stage] = []
        self.exits: dict[str, int] = {}
        self._cell = cell
        self._workers = workers
        self._selectors = selectors
        self._findings = findings
        self._count = 0
        self._together: list[StepPlan] = []
        self._names = {name: _names_at_start(worker) for name, worker in workers.items()}
        self._killed: dict[str, int] = {}

    def plan(self, steps: Iterable[Step]) -> None:
        """Take in the steps that exist in this cell."""
        for index, step in enumerate(steps):
            path, count = ("scenario", index), self._count
            if self._findings.is_damaged(path):
                for key in ("at", "kill"):
                    if (text := self._findings.raw(path, key)) is not None:
                        self._selectors.workers(text, (*path, key))
            elif self._exists(step.when, path):
                self._take(step, path)
            # A step at several replicas counts for each of them, any other one once.
            self._count = max(self._count, count + 1)
        self._end_stage()

    def _take(self, step: Step, path: Location) -> None:
        match step:
            case Kill():
                self._end_stage()
                self._kill(step, path)
            case Barrier():
                self._end_stage()
            case Expect():
                self._end_stage()
                self._expect(step, path)
            case _:
                self._at_worker(step, path)

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
        line, place = self._place(path)
        for worker in self._selectors.workers(step.kill, (*path, "kill")):
            self._alive(worker, (*path, "kill"))
            self._killed[worker] = line
            self.stages.append(KillPlan(worker, place, step.within))

    def _expect(self, step: Expect, path: Location) -> None:
        for selector, status in step.expect.exit.items():
            for worker in self._selectors.workers(selector, (*path, "expect", "exit", selector), at_key=True):
                self.exits[worker] = status

    def _at_worker(self, step: WorkerStep, path: Location) -> None:
        before = len(self._findings.problems)
        for worker in self._selectors.workers(step.at, (*path, "at")):
            # What is wrong with a step at one replica is wrong at all of them.
            if len(self._findings.problems) == before:
                self._plan_step(step, worker, path)

    def _plan_step(self, step: WorkerStep, worker: str, path: Location) -> None:
        self._alive(worker, (*path, "at"))
        if self._workers[worker].command:
            self._findings.add((*path, "at"), f"{worker} is a command, and obeys no steps; a Python program can")
        try:
            own = _at(step, worker)
        except ValueError:
            self._findings.add(path, f"{worker} is no replica, and so has no {{{{replica}}}}")
            return
        if self._findings.names_are_whole:
            self._check_names(own, path)
        _, place = self._place(path)
        self._together.append(_step_plan(self._count, place, own))
        self._count += 1

    def _check_names(self, step: WorkerStep, path: Location) -> None:
        """Find names that stand for nothing yet, and take note of those that this step gives."""
        self._check_used(step, path)
        if isinstance(step, Export) and step.name not in self._workers[step.at].exports:
            self._findings.add((*path, "name"), f"no route grants {step.at}.{step.name} to anybody")
        for index, name in enumerate(_names_given(step)):
            if name in RESERVED:
                text = f"{name!r} is what every worker calls something of its own; choose another name"
                self._findings.add((*path, "as", index), text)
        if step.expect.error is None:
            self._names[step.at] |= dict.fromkeys(_names_given(step))
        elif len(step.expect.model_fields_set) > 1:
            self._findings.add((*path, "expect"), "an error, and nothing else: a step that fails has no other result")

    def _check_used(self, step: WorkerStep, path: Location) -> None:
        held = self._names[step.at]
        for key in ("bound", "address", "socket", "descriptor"):
            name = getattr(step, key, None)
            if name == BOUND_SOCKET_NAME and name not in held:
                text = f"{step.at} has no service port: give it one, or say which BoundSocket"
                self._findings.add((*path, key), text)
            elif name is not None:
                self._check_held(step.at, name, (*path, key))
        if isinstance(step, SendMsg):
            for index, name in enumerate(step.descriptors):
                self._check_held(step.at, name, (*path, "descriptors", index))

    def _check_held(self, worker: str, name: str, path: Location) -> None:
        held = self._names[worker]
        if name not in held:
            self._findings.add(path, f"{worker} holds no {name!r} here{nearest(name, held)}")


def _names_at_start(worker: WorkerPlan) -> dict[str, None]:
    port = PORT_NAMES if worker.service_port != NONE else ()
    given = (slot.name for slot in worker.slots if isinstance(slot.origin, HostFilePlan | ChannelEnd))
    return dict.fromkeys([*(grant.name for grant in worker.grants), *given, *port, "INVALID"])


def _at(step: WorkerStep, worker: str) -> WorkerStep:
    """Return the step as this worker performs it. Raises ValueError for {{replica}} where it is no replica."""
    index = index_of(worker)
    fields = {
        key: for_replica(value, index)
        for key in ("bound", "address", "socket", "descriptor", "descriptors", "data")
        if (value := getattr(step, key, None)) is not None
    }
    texts = {key: str(value) if isinstance(value, int) and key != "data" else value for key, value in fields.items()}
    expect = step.expect
    if isinstance(expect, ExpectMessage) and expect.data is not None:
        expect = expect.model_copy(update={"data": for_replica(expect.data, index)})
    return step.model_copy(update={**texts, "at": worker, "expect": expect})


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
        case Export(address=address, name=name):
            text = f"export {address} as {name}"
        case Close(descriptor=descriptor):
            text = f"close {descriptor}"
        case _:
            text = step.do
    return text
