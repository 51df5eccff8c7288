"""From the steps of a scenario to its stages, following what each worker holds by then."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from harness.plan import (
    ANYTHING,
    NONE,
    Act,
    ActPlan,
    AwaitPlan,
    ChannelEnd,
    HostFilePlan,
    ParallelPlan,
    RevokePlan,
    Stage,
    StepPlan,
    Together,
    WaitPlan,
    WorkerPlan,
    workers_in,
)
from harness.planner.conditions import holds
from harness.planner.findings import Findings
from harness.planner.selectors import Numbers, Selectors, numbered, replica_of
from harness.planner.workers import RESERVED
from harness.topology import Cell
from harness.topology.expand import REPLICA, ROUND
from harness.topology.load import Location
from harness.topology.mistakes import nearest
from harness.topology.steps import (
    Barrier,
    Close,
    Connect,
    Expect,
    ExpectMessage,
    Export,
    Kill,
    Parallel,
    Pause,
    RecvMsg,
    Repeat,
    Resume,
    Revoke,
    SendMsg,
    Step,
    WaitFor,
    WaitTime,
    WorkerStep,
)
from sandbox.abi import ADDRESS_NAME, BOUND_SOCKET_NAME
from sandbox.control import pack_data

# What a step may name without any step having given the name.
PORT_NAMES: Final = (BOUND_SOCKET_NAME, ADDRESS_NAME)
# More steps than these are a slip of the pen: repeated steps that repeat others.
STEPS_MAX: Final = 20_000


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
        # In which lines something was expected or done, by worker.
        self._expected: dict[str, int] = {}
        self._killed: dict[str, int] = {}
        self._paused: dict[str, int] = {}

    def plan(self, steps: Iterable[Step]) -> None:
        """Take in the steps that exist in this cell."""
        for index, step in enumerate(steps):
            path = ("scenario", index)
            if self._findings.is_damaged(path):
                for key in ("at", "kill", "pause", "resume", "from"):
                    if (text := self._findings.raw(path, key)) is not None:
                        self._selectors.workers(text, (*path, key))
            else:
                self._take(step, path, {})
        self._end_stage()

    def _take(self, step: Step, path: Location, numbers: Numbers) -> None:
        count = self._count
        if holds(step.when, (*path, "when"), self._cell, self._findings):
            match step:
                case WorkerStep():
                    self._at_worker(step, path, numbers)
                case Repeat():
                    self._repeat(step, path, numbers)
                case _:
                    self._end_stage()
                    self._unattached(step, path, numbers)
        # A step at several replicas counts for each of them, any other one once.
        self._count = max(self._count, count + 1)

    def _unattached(self, step: Step, path: Location, numbers: Numbers) -> None:
        """Plan a step that begins when all above have ended."""
        match step:
            case Kill():
                self._act(Act.KILL, step.kill, path, step.within)
            case Pause():
                self._act(Act.PAUSE, step.pause, path, step.within)
            case Resume():
                self._act(Act.RESUME, step.resume, path, 0)
            case Revoke():
                self._revoke(step, path)
            case Barrier():
                "The end of the stage above is all of it."
            case WaitTime():
                self.stages.append(WaitPlan(step.wait))
            case WaitFor():
                self._wait(step, path)
            case Expect():
                self._expect(step, path, numbers)
            case Parallel():
                self._parallel(step, path, numbers)

    def _repeat(self, step: Repeat, path: Location, numbers: Numbers) -> None:
        """Plan the steps as if the file had them as often as that."""
        before = len(self._findings.problems)
        for round_ in range(step.repeat):
            for index, inner in enumerate(step.steps):
                if self._count > STEPS_MAX:
                    self._findings.add_once(("scenario",), f"more than {STEPS_MAX} steps")
                    return
                self._take(inner, (*path, "steps", index), {**numbers, ROUND: round_})
            # What is wrong in one round is wrong in all of them.
            if len(self._findings.problems) > before:
                return

    def _parallel(self, step: Parallel, path: Location, numbers: Numbers) -> None:
        before, branches, lines = self.stages, list[tuple[Stage, ...]](), dict[str, int]()
        killed, paused = self._killed, self._paused
        killed_now, paused_now, resumed_now = dict(killed), dict(paused), set[str]()
        for index, branch in enumerate(step.parallel):
            self.stages, self._killed, self._paused = [], dict(killed), dict(paused)
            where = (*path, "parallel", index)
            for suffix, inner in _steps_of(branch):
                self._take(inner, (*where, *suffix), numbers)
            self._end_stage()
            line, _ = self._place(where)
            workers = workers_in(self.stages)
            for worker in sorted(workers & lines.keys()):
                text = f"{worker} is in the branch in line {lines[worker]} already; it does one thing after the other"
                self._findings.add_once(where, text)
            lines |= dict.fromkeys(workers, line)
            branches.append(tuple(self.stages))
            killed_now |= self._killed
            paused_now |= self._paused
            resumed_now |= paused.keys() - self._paused.keys()
        self._killed = killed_now
        self._paused = {worker: line for worker, line in paused_now.items() if worker not in resumed_now}
        self.stages = [*before, ParallelPlan(tuple(branches))]

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

    def _able(self, worker: str, path: Location) -> None:
        """Find that a worker is in no state to do anything, or to have anything done to it."""
        if worker in self._killed:
            self._findings.add(path, f"{worker} was killed in line {self._killed[worker]}")
        elif worker in self._paused:
            self._findings.add(path, f"{worker} was paused in line {self._paused[worker]}; resume it first")

    def _act(self, act: Act, selector: str, path: Location, within: float) -> None:
        line, place = self._place(path)
        where = (*path, act.value)
        for worker in self._selectors.workers(selector, where):
            paused = self._paused.pop(worker, None) if act is not Act.PAUSE else None
            self._able(worker, where)
            if act is Act.RESUME and paused is None and worker not in self._killed:
                self._findings.add(where, f"{worker} is not paused here")
            if act is Act.KILL:
                self._killed[worker] = line
            elif act is Act.PAUSE:
                self._paused[worker] = line
            self.stages.append(ActPlan(act, worker, place, within))

    def _revoke(self, step: Revoke, path: Location) -> None:
        for importer in self._selectors.workers(step.from_, (*path, "from")):
            for exporter, export in self._selectors.exports(step.revoke, (*path, "revoke")):
                held = [g for g in self._workers[importer].grants if (g.exporter, g.export) == (exporter, export)]
                if not held:
                    self._findings.add((*path, "revoke"), f"no route grants {step.revoke} to {importer}")
                elif not all(grant.facet for grant in held):
                    text = (
                        f"{importer} holds {exporter}'s own address, and not one of its own that could be taken from it"
                    )
                    self._findings.add((*path, "from"), text)
                self.stages.append(RevokePlan(exporter, export, importer))

    def _wait(self, step: WaitFor, path: Location) -> None:
        _, place = self._place(path)
        where = (*path, "wait")
        exits = [
            worker
            for index, selector in enumerate(step.wait.exit)
            for worker in self._selectors.workers(selector, (*where, "exit", index))
        ]
        reports = {
            worker: dict.fromkeys(keys, ANYTHING)
            for selector, keys in step.wait.report.items()
            for worker in self._selectors.workers(selector, (*where, "report", selector), at_key=True)
        }
        self.stages.append(AwaitPlan(place, tuple(exits), reports, step.within))

    def _expect(self, step: Expect, path: Location, numbers: Numbers) -> None:
        where = (*path, "expect")
        for selector, status in step.expect.exit.items():
            at = (*where, "exit", selector)
            for worker in self._selectors.workers(selector, at, at_key=True):
                if self.exits.setdefault(worker, status) != status:
                    self._findings.add_once(
                        at, f"{worker} is expected to end otherwise in line {self._expected[worker]}"
                    )
                self._expected.setdefault(worker, self._place(path)[0])
        reports: dict[str, dict[str, Any]] = {}
        for selector, wanted in step.expect.report.items():
            at = (*where, "report", selector)
            for worker in self._selectors.workers(selector, at, at_key=True):
                try:
                    values = numbered(wanted, {**numbers, **replica_of(worker)})
                except ValueError as error:
                    self._no_number(error, worker, at)
                    break
                reports[worker] = {**reports.get(worker, {}), **values}
        if reports:
            _, place = self._place(path)
            self.stages.append(AwaitPlan(place, (), reports, step.within))

    def _at_worker(self, step: WorkerStep, path: Location, numbers: Numbers) -> None:
        before = len(self._findings.problems)
        for worker in self._selectors.workers(step.at, (*path, "at")):
            # What is wrong with a step at one replica is wrong at all of them.
            if len(self._findings.problems) == before:
                self._plan_step(step, worker, path, numbers)

    def _plan_step(self, step: WorkerStep, worker: str, path: Location, numbers: Numbers) -> None:
        if self._count > STEPS_MAX:
            self._findings.add_once(("scenario",), f"more than {STEPS_MAX} steps")
            return
        self._able(worker, (*path, "at"))
        if self._workers[worker].command:
            self._findings.add((*path, "at"), f"{worker} is a command, and obeys no steps; a Python program can")
        try:
            own = _at(step, worker, numbers)
        except ValueError as error:
            self._no_number(error, worker, path)
            return
        if self._findings.names_are_whole:
            self._check_names(own, path)
        _, place = self._place(path)
        self._together.append(_step_plan(self._count, place, own))
        self._count += 1

    def _no_number(self, error: ValueError, worker: str, path: Location) -> None:
        if str(error) == REPLICA:
            self._findings.add(path, f"{worker} is no replica, and so has no {{{{replica}}}}")
        else:
            self._findings.add(path, "nothing is repeated here, and so there is no {{round}}")

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


def _steps_of(branch: Any) -> Iterator[tuple[tuple[int, ...], Step]]:
    """Yield the steps of a branch, each with what leads to it there: nothing for the only one, or its index."""
    if isinstance(branch, tuple):
        yield from (((index,), step) for index, step in enumerate(branch))
    else:
        yield (), branch


def _at(step: WorkerStep, worker: str, numbers: Numbers) -> WorkerStep:
    """Return the step as this worker performs it. Raises ValueError for a number that there is none of here."""
    numbers = {**numbers, **replica_of(worker)}
    fields = {
        key: numbered(value, numbers)
        for key in ("bound", "address", "socket", "descriptor", "descriptors", "data")
        if (value := getattr(step, key, None)) is not None
    }
    texts = {key: str(value) if isinstance(value, int) and key != "data" else value for key, value in fields.items()}
    expect = step.expect
    if isinstance(expect, ExpectMessage) and expect.data is not None:
        expect = expect.model_copy(update={"data": numbered(expect.data, numbers)})
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
