"""Why a run hung, in words: where each worker was, who waits for whom, and what to blame."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final

from harness.hang import Circle, Doing, Edge, Forgotten, Hang, ThreadState, Waited, WorkerState, numbered
from harness.scenario import printable

OUTPUT_LINES: Final = 3
LINE_MAX: Final = 200
HOLDERS_MAX: Final = 8
# Workers choose how much there is to be told of them. So much of it is.
WAITED_MAX: Final = 8
THREADS_MAX: Final = 8
CONCLUSIONS_MAX: Final = 8


def explanation(hang: Hang) -> list[str]:
    """Return the lines that tell of a hang: the conclusions first, then each worker."""
    return [printable(line) for line in (*_conclusions(hang), "when the deadline passed:", *_workers(hang))]


def _conclusions(hang: Hang) -> Iterator[str]:
    for circle in hang.circles:
        yield _circle(circle)
    for waiter, forgets in groupby(hang.forgotten, attrgetter("waiter")):
        yield from _some(
            list(dict.fromkeys(map(_forgotten, forgets))), f"forgotten: {waiter} waits so in {{}} more ways"
        )
    told = {edge for circle in hang.circles for edge in circle.edges}
    forgetful = {forgotten.waiter for forgotten in hang.forgotten}
    edges = [edge for edge in hang.edges if edge not in told and edge.waiter not in forgetful]
    for waiter, waits in groupby(edges, attrgetter("waiter")):
        lines = [f"{_edge(edge)}; {edge.awaited} {_state(hang, edge.awaited)}" for edge in waits]
        yield from _some(lines, f"{waiter} waits for {{}} more")


def _some(lines: list[str], more: str, most: int = CONCLUSIONS_MAX) -> Iterator[str]:
    """Yield the first lines, and how many `more` there are."""
    yield from lines[:most]
    if len(lines) > most:
        yield more.format(len(lines) - most)


def _edge(edge: Edge) -> str:
    return f"{edge.waiter} waits for {edge.awaited} ({edge.reason})"


def _circle(circle: Circle) -> str:
    edges = ", ".join(map(_edge, circle.edges))
    if not circle.ways_out:
        return f"deadlock: {edges}"
    return f"in a circle: {edges}; who may still end it: {', '.join(circle.ways_out)}"


def _forgotten(forgotten: Forgotten) -> str:
    where = _some_and(list(map(str, forgotten.waited)), WAITED_MAX)
    blame = dict.fromkeys(_blame(forgotten.waiter, waited) for waited in forgotten.waited[:WAITED_MAX])
    return f"forgotten: {forgotten.waiter} waits in {forgotten.call} on {where}; {'; '.join(blame)}"


def _blame(waiter: str, waited: Waited) -> str:
    holders = [
        f"{holder}, which is idle" if holder.worker != waiter else f"its own {numbered(holder.number, holder.name)}"
        for holder in waited.holders
    ]
    if waited.queued:
        return f"nobody has accepted the other end, which lies in the queue of {_some_and(holders, HOLDERS_MAX)}"
    if waited.owing:
        return f"{waited.remark}; {_and(list(waited.owing))} {'is' if len(waited.owing) == 1 else 'are'} idle"
    return f"{_end(waited)} {'is that of' if waited.writes else 'is still held as'} {_some_and(holders, HOLDERS_MAX)}"


def _end(waited: Waited) -> str:
    if waited.writes:
        return "the full queue"
    return "its address" if waited.kind == "BoundSocket" and not waited.writes else "the other end"


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _some_and(names: Sequence[str], most: int) -> str:
    return _and(names if len(names) <= most else [*names[:most], f"{len(names) - most} more"])


def _state(hang: Hang, name: str) -> str:
    state = hang.workers.get(name)
    if state is None:
        return "is unknown"
    calls = ", ".join(sorted({thread.call for thread in state.threads if thread.call}))
    return f"is {state.doing}" + (f" ({calls})" if calls and state.doing is not Doing.IDLE else "")


def _workers(hang: Hang) -> Iterator[str]:
    width = max(map(len, hang.workers), default=0)
    for worker in hang.workers.values():
        step = f"at {worker.step}: " if worker.step else ""
        lines = list(_threads(worker)) if worker.doing not in {Doing.STOPPED, Doing.IDLE} else []
        lines = lines or [_doing(worker)]
        yield f"  {worker.name:<{width}}  {step}{lines[0]}"
        details = [*lines[1:], *_details(worker)]
        yield from (f"  {'':<{width}}    {detail}" for detail in details)


def _doing(worker: WorkerState) -> str:
    if worker.doing is Doing.IDLE:
        return "idle: it waits for the scenario"
    if worker.doing is Doing.STOPPED:
        return "stopped, by a signal such as SIGSTOP"
    return str(worker.doing)


def _details(worker: WorkerState) -> Iterator[str]:
    if worker.remark:
        yield worker.remark
    for pipe, text in (worker.last_output or {}).items():
        for line in text.rstrip().splitlines()[-OUTPUT_LINES:]:
            yield f"{pipe}: {line[-LINE_MAX:]}"
    if worker.doing is not Doing.IDLE:
        # Who has one thread needs no headline to tell it from others.
        heads = [line for line in worker.stack if not line.startswith(" ")]
        yield from (line for line in worker.stack if len(heads) > 1 or line not in heads)


def _threads(worker: WorkerState) -> Iterator[str]:
    """Yield where the threads are, those that are at the same together."""
    together = Counter(map(_thread, worker.threads))
    lines = [f"{text} ({count} threads)" if count > 1 else text for text, count in together.items()]
    yield from lines[:THREADS_MAX]
    if len(lines) > THREADS_MAX:
        yield f"and {sum([*together.values()][THREADS_MAX:])} more threads"


def _thread(thread: ThreadState) -> str:
    if thread.waited:
        told = [*map(_waited, thread.waited[:WAITED_MAX])]
        if len(thread.waited) > WAITED_MAX:
            told.append(f"{len(thread.waited) - WAITED_MAX} more")
        return f"{thread.call} on {', and on '.join(told)}"
    return f"{thread.doing}{f' in {thread.call}' if thread.call else ''}"


def _waited(waited: Waited) -> str:
    facts = [text for text in (_holders(waited), waited.remark) if text]
    end = f": {'; '.join(facts)}" if facts else ""
    return f"{waited} ({waited.kind}){end}"


def _holders(waited: Waited) -> str:
    if not waited.holders:
        return ""
    verb = "lies in the queue of" if waited.queued else "is that of" if waited.writes else "is"
    return f"{_end(waited)} {verb} {_some_and(list(map(str, waited.holders)), HOLDERS_MAX)}"
