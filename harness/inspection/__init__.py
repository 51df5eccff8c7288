"""What every worker was waiting for when a deadline passed: looked at while it is still there, in bounded time.

    /proc ── processes.py, syscalls.py ──> calls, descriptors ─┐
    sock_diag ── sockets.py ──> who is connected to whom ──────┼─ wiring.py ──> states ── deadlock.py ──> Hang
    a signal ── stacks.py ──> Python stacks ───────────────────┘

Nothing that a worker does, or becomes meanwhile, makes this raise or wait; what cannot be learned is said to be so. Of
whom there is more than was looked at (`harness.hang.Part`), it is assumed that it may act.
"""

import asyncio
import select
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from harness.capture import Capture
from harness.facets import Way
from harness.hang import Doing, Hang, Part, ThreadState, WorkerState
from harness.inspection.deadlock import explain
from harness.inspection.processes import Process, children, family, identities_of, look
from harness.inspection.sockets import UnixSocket, unix_sockets
from harness.inspection.stacks import can_answer, stack_of
from harness.inspection.wiring import STOPPED, Named, Seen, Wiring
from harness.spawn import Process as Running
from harness.waiting import aside, settle

__all__ = ["Hang", "Subject", "inspect"]

# All of it, and by when each part of it has to have ended. Whatever takes long is done in threads, for workers choose
# how much there is to be read and to be computed, and the event loop has other deadlines to keep.
INSPECTION_SECONDS: Final = 1.0
CHILDREN_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 0.5
SOCKETS_SECONDS: Final = 0.5
EXPLAINED_SECONDS: Final = 0.9
# What was read until the end is told a little later; and for the sockets there is always some time.
LATE_SECONDS: Final = 0.05
SOCKETS_SECONDS_MIN: Final = 0.1
LOOKERS_MAX: Final = 32

STDERR: Final = 2
NO_HANDLER: Final = "no Python stack: it is not there yet, or has executed another program"
NO_STDERR: Final = "no Python stack: its stderr is not the one that it was started with"
FRAIL: Final = "no Python stack: to be asked for it would end this wait"
NO_ANSWER: Final = "no Python stack: it did not answer"


@dataclass(frozen=True, slots=True)
class Subject:
    """A worker to be looked at. `process` is None where it never started; `step` is what it was to do just now.

    `named` and `owed` are those of `wiring.Seen`; `python`: it is one, and may be asked for its stack.
    """

    name: str
    process: Running | None
    python: bool
    step: str
    named: Mapping[str, Named]
    owed: tuple[tuple[str, str], ...]
    stdout: Capture
    stderr: Capture


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read. `sockets` is None where the kernel does not tell; `ours` are identities, as in `Wiring`.

    `unseen` is of what there is more than was read, whosever it is.
    """

    looks: Mapping[str, tuple[Process, ...]]
    sockets: Mapping[int, UnixSocket] | None
    ours: Collection[str]
    unseen: frozenset[Part]


async def inspect(subjects: Sequence[Subject], ways: Collection[Way]) -> Hang:
    """Return where these workers are, and who waits for whom. Takes a second at most."""
    began = time.monotonic()
    states = {subject.name: WorkerState(subject.name, Doing.UNSEEN) for subject in subjects}
    hang = Hang(states, (), (), ())
    with suppress(TimeoutError):
        async with asyncio.timeout(INSPECTION_SECONDS):
            facts = await _read(subjects, began)
            states |= {subject.name: _found(subject, facts) for subject in subjects}
            seen = {one.name: Seen(facts.looks.get(one.name, ()), one.named, one.owed) for one in subjects}
            async with asyncio.TaskGroup() as group:
                explained = group.create_task(
                    aside(_explained, dict(states), seen, facts, ways, began + EXPLAINED_SECONDS)
                )
                # Nothing follows from a stack.
                group.create_task(_ask_for_stacks(subjects, facts.looks, states))
            hang = explained.result()
    workers = {
        name: replace(state, stack=states[name].stack, remark=state.remark or states[name].remark)
        for name, state in hang.workers.items()
    }
    return replace(hang, workers=workers)


async def _read(subjects: Sequence[Subject], began: float) -> Facts:
    unseen: set[Part] = set()
    looks = await _look_at(subjects, began, unseen)
    # Only now: who computes would keep those waiting who read /proc, after each of their many calls.
    until = max(began + SOCKETS_SECONDS, time.monotonic() + SOCKETS_SECONDS_MIN)
    sockets = await aside(_sockets, until, unseen)
    ours = await aside(identities_of, "/proc/self")
    return Facts(looks, sockets, ours, frozenset(unseen))


def _sockets(until: float, unseen: set[Part]) -> dict[int, UnixSocket] | None:
    try:
        return unix_sockets(until, unseen)
    except OSError:
        return None


async def _look_at(subjects: Sequence[Subject], began: float, unseen: set[Part]) -> dict[str, tuple[Process, ...]]:
    """Return what /proc tells of each worker, and of its children; without those that it does not tell of in time.

    In threads that are left behind if need be: the memory that a call's arguments lie in may be a file of the worker's
    own file system, which answers when the worker likes, or once that is killed.
    """
    loop = asyncio.get_running_loop()
    end = began + LOOK_SECONDS
    waiting: dict[str, asyncio.Future[tuple[Process, ...]]] = {}
    descendants = await aside(children, began + CHILDREN_SECONDS, unseen)
    shares: list[deque[tuple[asyncio.Future[tuple[Process, ...]], int]]] = [deque() for _ in range(LOOKERS_MAX)]
    for index, subject in enumerate(subjects):
        if subject.process is not None and not subject.process.exited.done():
            waiting[subject.name] = loop.create_future()
            shares[index % LOOKERS_MAX].append((waiting[subject.name], subject.process.pid))

    def work(share: deque[tuple[asyncio.Future[tuple[Process, ...]], int]]) -> None:
        # The loop may be closed by the time that we are let go.
        with suppress(RuntimeError):
            while share:
                # Nobody takes from the time of those who come after.
                until = _portion(end, len(share))
                future, pid = share.popleft()
                loop.call_soon_threadsafe(settle, future, look(family(pid, descendants), until))

    # No thread to be had is one that does not come back.
    with suppress(RuntimeError):
        for share in filter(None, shares):
            threading.Thread(target=work, args=(share,), daemon=True).start()
    if waiting:
        await asyncio.wait(waiting.values(), timeout=end + LATE_SECONDS - time.monotonic())
    return {name: future.result() for name, future in waiting.items() if future.done()}


def _portion(end: float, among: int) -> float:
    """Return until when one of so many may take its time, where all have to be done by the `end`."""
    now = time.monotonic()
    return now + max(0.0, end - now) / among


def _found(subject: Subject, facts: Facts) -> WorkerState:
    """Return what is known of a worker before it is known what it waits for."""
    state = WorkerState(subject.name, Doing.UNSEEN, step=subject.step, last_output=_last_output(subject))
    if subject.process is None:
        return replace(state, remark="it was not started yet")
    # Only now: a process id that was read may have become another's, but not while its pidfd says that it lives.
    if has_ended(subject.process):
        return replace(state, doing=Doing.ENDED)
    if not facts.looks.get(subject.name):
        return replace(state, unseen=frozenset(Part), remark="it could not be looked at in time")
    return state


def _explained(
    states: Mapping[str, WorkerState], seen: Mapping[str, Seen], facts: Facts, ways: Collection[Way], until: float
) -> Hang:
    """Return what follows from the facts, of which no worker's take more than its portion of the time until then."""
    wiring = Wiring(seen, facts.sockets, ways, facts.ours)
    explained = {}
    for index, (name, state) in enumerate(states.items()):
        explained[name] = state
        if seen[name].processes and state.doing is not Doing.ENDED:
            threads, unseen = wiring.threads(name, _portion(until, len(states) - index))
            explained[name] = _state(state, threads, unseen | facts.unseen, diagnosed=facts.sockets is not None)
    return explain(explained)


def _state(
    state: WorkerState, threads: tuple[ThreadState, ...], unseen: frozenset[Part], *, diagnosed: bool
) -> WorkerState:
    remarks = []
    if any(thread.doing is Doing.UNSEEN for thread in threads):
        remarks.append("we may not see its system calls (/proc/PID/syscall)")
    elif not diagnosed:
        remarks.append("the kernel does not tell who is connected to whom (CONFIG_UNIX_DIAG)")
    if unseen:
        remarks.append(f"not all was looked at ({', '.join(sorted(map(str, unseen)))}): it may act")
    return replace(state, doing=_doing(threads, unseen), threads=threads, unseen=unseen, remark="; ".join(remarks))


def has_ended(process: Running) -> bool:
    """Say whether this process has ended, whether it was reaped or not."""
    poller = select.poll()
    poller.register(process.pidfd, select.POLLIN)
    return bool(poller.poll(0))


def _doing(threads: Sequence[ThreadState], unseen: frozenset[Part]) -> Doing:
    """Return what a worker is doing as a whole; a thread that waits for another thread counts for nothing."""
    for doing in (Doing.STOPPED, Doing.RUNNING, Doing.UNSEEN, Doing.SLEEPING):
        if any(thread.doing is doing for thread in threads):
            return doing
    outward = [thread for thread in threads if thread.waited]
    is_idle = outward and all(thread.doing is Doing.IDLE for thread in outward)
    return Doing.IDLE if is_idle and not unseen - {Part.SOCKETS, Part.DESCRIPTORS} else Doing.WAITING


def _last_output(subject: Subject) -> dict[str, str]:
    outputs = {"stdout": subject.stdout.output().end, "stderr": subject.stderr.output().end}
    return {pipe: end.decode("utf-8", "backslashreplace") for pipe, end in outputs.items() if end}


async def _ask_for_stacks(
    subjects: Sequence[Subject], looks: Mapping[str, tuple[Process, ...]], states: dict[str, WorkerState]
) -> None:
    async def ask(subject: Subject, process: Running) -> None:
        state = states[subject.name]
        stack = await stack_of(process, subject.stderr)
        states[subject.name] = replace(state, stack=stack, remark=state.remark or ("" if stack else NO_ANSWER))

    async with asyncio.TaskGroup() as group:
        for subject in subjects:
            state = states[subject.name]
            looked_at = looks.get(subject.name, ())
            is_stopped = any(thread.state in STOPPED for process in looked_at for thread in process.threads)
            if not subject.python or subject.process is None or state.doing is Doing.ENDED or is_stopped:
                continue
            if objection := _objection(subject, subject.process, looks):
                states[subject.name] = replace(state, remark=state.remark or objection)
            else:
                group.create_task(ask(subject, subject.process))


def _objection(subject: Subject, running: Running, looks: Mapping[str, tuple[Process, ...]]) -> str:
    """Return what speaks against asking a worker for its stack, or ""."""
    process = next((process for process in looks.get(subject.name, ()) if process.pid == running.pid), None)
    if process is None or not can_answer(process.catches):
        return NO_HANDLER
    if [entry.identity for entry in process.table if entry.number == STDERR] != [subject.stderr.identity]:
        return NO_STDERR
    if any(thread.wait is not None and thread.wait.frail for thread in process.threads):
        return FRAIL
    return ""
