"""Who waits for whom: the graph, its circles, the descriptors that somebody forgot. Pure: states in, conclusions out.

A worker's wait ends when any one of those acts who could end it. So a circle alone is no deadlock: there is one where
nobody who can be reached from it, by any of its waits, may still act by itself.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from harness.hang import HOLDINGS, Circle, Doing, Edge, Forgotten, Hang, ThreadState, WorkerState

# Of many workers that all wait for one another, from so many a shortest circle is looked for.
STARTS_MAX: Final = 16

Graph = Mapping[str, Mapping[str, Edge]]


def explain(workers: Mapping[str, WorkerState]) -> Hang:
    """Return what follows from where the workers are."""
    graph = {name: _edges(worker) for name, worker in workers.items()}
    edges = tuple(edge for found in graph.values() for edge in found.values())
    for edge in edges:
        graph.setdefault(edge.awaited, {})
    anywhere = {name for name, worker in workers.items() if worker.unseen & HOLDINGS}
    forgotten = () if anywhere else tuple(dict.fromkeys(_forgotten(workers)))
    return Hang(workers, edges, tuple(_circles(graph, workers, anywhere)), forgotten)


def _edges(worker: WorkerState) -> dict[str, Edge]:
    """Return whom a worker waits for, each with one reason, whatever the number of reasons."""
    found: dict[str, Edge] = {}
    for thread in worker.threads:
        for waited in thread.waited:
            for awaited in sorted(waited.awaited - found.keys() - {worker.name}):
                found[awaited] = Edge(worker.name, awaited, f"{thread.call} on {waited}")
    return found


def _circles(graph: Graph, workers: Mapping[str, WorkerState], anywhere: set[str]) -> Iterator[Circle]:
    """Yield a short circle of each set of workers that all wait for one another, the shortest where they are few.

    `anywhere` are those who may end any wait, for all that is known.
    """
    backwards: dict[str, dict[str, Edge]] = {name: {} for name in graph}
    for name, edges in graph.items():
        for other, edge in edges.items():
            backwards.setdefault(other, {})[name] = edge
    done: set[str] = set()
    for name in graph:
        if name in done:
            continue
        reached = _reachable(graph, name)
        together = reached & _reachable(backwards, name)
        done |= together | {name}
        if name in reached:
            starts = sorted(together)[:STARTS_MAX]
            shortest = min((_shortest_circle(graph, start, together) for start in starts), key=len)
            out = anywhere | {other for other in reached if other in workers and _may_act(workers[other])}
            yield Circle(tuple(shortest), tuple(sorted(out)))


def _reachable(graph: Graph, start: str) -> set[str]:
    """Return whom a worker waits for, and those whom they wait for; itself only where it is among them."""
    found: set[str] = set()
    todo = deque(graph.get(start, ()))
    while todo:
        name = todo.popleft()
        if name not in found:
            found.add(name)
            todo += graph.get(name, {}).keys() - found
    return found


def _shortest_circle(graph: Graph, start: str, inside: set[str]) -> list[Edge]:
    came_by: dict[str, Edge] = {}
    todo = deque([start])
    while start not in came_by:
        name = todo.popleft()
        for other, edge in graph[name].items():
            if other in inside and other not in came_by:
                came_by[other] = edge
                todo.append(other)
    path = [came_by[start]]
    while path[-1].waiter != start:
        path.append(came_by[path[-1].waiter])
    return path[::-1]


def _may_act(worker: WorkerState) -> bool:
    """Say whether this worker may go on without the help of another one."""
    return (
        worker.doing.acts
        or bool(worker.unseen)
        or any(thread.timed or any(waited.outside for waited in thread.waited) for thread in worker.threads)
    )


def _forgotten(workers: Mapping[str, WorkerState]) -> Iterator[Forgotten]:
    for worker in workers.values():
        # What was not looked at may be what closes or sends.
        for thread in () if worker.unseen else worker.threads:
            if _in_vain(worker, thread, workers):
                waited = tuple(waited for waited in thread.waited if waited.awaited)
                yield Forgotten(worker.name, thread.call, waited)


def _in_vain(worker: WorkerState, thread: ThreadState, workers: Mapping[str, WorkerState]) -> bool:
    """Say whether all who could end this wait are idle, or are the one who waits."""
    awaited = {name for waited in thread.waited for name in waited.awaited}
    if worker.doing is not Doing.WAITING or thread.doing is not Doing.WAITING or not awaited:
        return False
    if any(waited.outside or waited.by_name for waited in thread.waited):
        return False
    return all(name == worker.name or (name in workers and workers[name].doing is Doing.IDLE) for name in awaited)
