"""Why a run hung, in words: where each worker was, who waits for whom, and what to blame."""

from collections.abc import Iterator
from typing import Final

from harness.hang import Circle, Doing, Edge, Forgotten, Hang, ThreadState, Waited, WorkerState, numbered
from harness.scenario import printable

OUTPUT_LINES: Final = 3
LINE_MAX: Final = 200
HOLDERS_MAX: Final = 8


def explanation(hang: Hang) -> list[str]:
    """Return the lines that tell of a hang: the conclusions first, then each worker."""
    return [printable(line) for line in (*_conclusions(hang), "when the deadline passed:", *_workers(hang))]


def _conclusions(hang: Hang) -> Iterator[str]:
    for circle in hang.circles:
        yield _circle(circle)
    for forgotten in hang.forgotten:
        yield _forgotten(forgotten)
    told = {edge for circle in hang.circles for edge in circle.edges}
    told |= {edge for one in hang.forgotten for edge in hang.edges if edge.waiter == one.waiter}
    for edge in hang.edges:
        if edge not in told:
            yield f"{_edge(edge)}; {edge.awaited} {_state(hang, edge.awaited)}"


def _edge(edge: Edge) -> str:
    return f"{edge.waiter} waits for {edge.awaited} ({edge.reason})"


def _circle(circle: Circle) -> str:
    edges = ", ".join(map(_edge, circle.edges))
    if not circle.ways_out:
        return f"deadlock: {edges}"
    return f"in a circle: {edges}; who may still end it: {', '.join(circle.ways_out)}"


def _forgotten(forgotten: Forgotten) -> str:
    where = _and([str(waited) for waited in forgotten.waited])
    blame = dict.fromkeys(_blame(forgotten.waiter, waited) for waited in forgotten.waited)
    return f"forgotten: {forgotten.waiter} waits in {forgotten.call} on {where}; {'; '.join(blame)}"


def _blame(waiter: str, waited: Waited) -> str:
    where = [
        f"{holder}, which is idle" if holder.worker != waiter else f"its own {numbered(holder.number, holder.name)}"
        for holder in waited.holders
    ]
    if waited.queued:
        return f"nobody has accepted the other end, which lies in the queue of {_and(where)}"
    if waited.owing:
        return f"{waited.remark}; {_and(list(waited.owing))} {'is' if len(waited.owing) == 1 else 'are'} idle"
    return f"{_end(waited)} {'is that of' if waited.writes else 'is still held as'} {_and(where)}"


def _end(waited: Waited) -> str:
    if waited.writes:
        return "the full queue"
    return "its address" if waited.kind == "BoundSocket" and not waited.writes else "the other end"


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


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
        threads = [text for thread in worker.threads if (text := _thread(thread))]
        lines = threads if threads and worker.doing not in {Doing.STOPPED, Doing.IDLE} else [_doing(worker)]
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


def _thread(thread: ThreadState) -> str:
    if thread.waited:
        return f"{thread.call} on {', and on '.join(map(_waited, thread.waited))}"
    return f"{thread.doing}{f' in {thread.call}' if thread.call else ''}"


def _waited(waited: Waited) -> str:
    facts = [text for text in (_holders(waited), waited.remark) if text]
    end = f": {'; '.join(facts)}" if facts else ""
    return f"{waited} ({waited.kind}){end}"


def _holders(waited: Waited) -> str:
    if not waited.holders:
        return ""
    holders = [str(holder) for holder in waited.holders[:HOLDERS_MAX]]
    if len(waited.holders) > HOLDERS_MAX:
        holders.append(f"{len(waited.holders) - HOLDERS_MAX} more")
    verb = "lies in the queue of" if waited.queued else "is that of" if waited.writes else "is"
    return f"{_end(waited)} {verb} {_and(holders)}"
