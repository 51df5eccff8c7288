"""What every worker was waiting for when a deadline passed: looked at while it is still there, in bounded time.

    /proc ── processes.py, syscalls.py ──> calls, descriptors ─┐
    sock_diag ── sockets.py ──> who is connected to whom ──────┼─ wiring.py ──> states ── deadlock.py ──> Hang
    a signal ── stacks.py ──> Python stacks ───────────────────┘

Nothing that a worker does, or becomes meanwhile, makes this raise or wait; what cannot be learned is said to be so.
"""

import asyncio
import select
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from harness.capture import Capture
from harness.facets import Way
from harness.hang import Doing, Hang, ThreadState, WorkerState
from harness.inspection.deadlock import explain
from harness.inspection.processes import Process, children, family, identities_of, look
from harness.inspection.sockets import UnixSocket, unix_sockets
from harness.inspection.stacks import can_answer, stack_of
from harness.inspection.wiring import Named, Seen, Wiring
from harness.spawn import Process as Running
from harness.waiting import settle

__all__ = ["Hang", "Subject", "inspect"]

# All of it, and the part that /proc may take.
INSPECTION_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.5
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


async def inspect(subjects: Sequence[Subject], ways: Collection[Way]) -> Hang:
    """Return where these workers are, and who waits for whom. Takes a second at most."""
    states = {subject.name: WorkerState(subject.name, Doing.UNSEEN) for subject in subjects}
    with suppress(TimeoutError):
        async with asyncio.timeout(INSPECTION_SECONDS):
            looks = await _look_at(subjects)
            seen = {
                subject.name: Seen(looks.get(subject.name, ()), subject.named, subject.owed) for subject in subjects
            }
            sockets = _sockets()
            wiring = Wiring(seen, sockets, ways, identities_of("/proc/self"))
            for subject in subjects:
                states[subject.name] = _state(subject, looks, wiring, diagnosed=sockets is not None)
            await _ask_for_stacks(subjects, looks, states)
    return explain(states)


def _sockets() -> dict[int, UnixSocket] | None:
    try:
        return unix_sockets()
    except OSError:
        return None


async def _look_at(subjects: Sequence[Subject]) -> dict[str, tuple[Process, ...]]:
    """Return what /proc tells of each worker, and of its children; without those that it does not tell of in time.

    In threads that are left behind if need be: the memory that a call's arguments lie in may be a file of the worker's
    own file system, which answers when the worker likes, or once that is killed.
    """
    loop = asyncio.get_running_loop()
    waiting: dict[str, asyncio.Future[tuple[Process, ...]]] = {}
    descendants = children()
    shares: list[list[tuple[asyncio.Future[tuple[Process, ...]], list[int]]]] = [[] for _ in range(LOOKERS_MAX)]
    for index, subject in enumerate(subjects):
        if subject.process is not None and not subject.process.exited.done():
            waiting[subject.name] = loop.create_future()
            pids = family(subject.process.pid, descendants)
            shares[index % LOOKERS_MAX].append((waiting[subject.name], pids))

    def work(share: list[tuple[asyncio.Future[tuple[Process, ...]], list[int]]]) -> None:
        # The loop may be closed by the time that we are let go.
        with suppress(RuntimeError):
            for future, pids in share:
                loop.call_soon_threadsafe(settle, future, look(pids))

    # No thread to be had is one that does not come back.
    with suppress(RuntimeError):
        for share in filter(None, shares):
            threading.Thread(target=work, args=(share,), daemon=True).start()
    if waiting:
        await asyncio.wait(waiting.values(), timeout=LOOK_SECONDS)
    return {name: future.result() for name, future in waiting.items() if future.done()}


def _state(
    subject: Subject, looks: Mapping[str, tuple[Process, ...]], wiring: Wiring, *, diagnosed: bool
) -> WorkerState:
    state = WorkerState(subject.name, Doing.UNSEEN, step=subject.step, last_output=_last_output(subject))
    if subject.process is None:
        return replace(state, remark="it was not started yet")
    # Only now: a process id that was read may have become another's, but not while its pidfd says that it lives.
    if has_ended(subject.process):
        return replace(state, doing=Doing.ENDED)
    if not looks.get(subject.name):
        return replace(state, remark="it could not be looked at in time")
    threads = wiring.threads(subject.name)
    remark = "" if diagnosed else "the kernel does not tell who is connected to whom (CONFIG_UNIX_DIAG)"
    if any(thread.doing is Doing.UNSEEN for thread in threads):
        remark = "we may not see its system calls (/proc/PID/syscall)"
    return replace(state, doing=_doing(threads), threads=threads, remark=remark)


def has_ended(process: Running) -> bool:
    """Say whether this process has ended, whether it was reaped or not."""
    poller = select.poll()
    poller.register(process.pidfd, select.POLLIN)
    return bool(poller.poll(0))


def _doing(threads: Sequence[ThreadState]) -> Doing:
    """Return what a worker is doing as a whole; a thread that waits for another thread counts for nothing."""
    for doing in (Doing.STOPPED, Doing.RUNNING, Doing.UNSEEN, Doing.SLEEPING):
        if any(thread.doing is doing for thread in threads):
            return doing
    outward = [thread for thread in threads if thread.waited]
    return Doing.IDLE if outward and all(thread.doing is Doing.IDLE for thread in outward) else Doing.WAITING


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
            if not subject.python or subject.process is None or state.doing in {Doing.ENDED, Doing.STOPPED}:
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
