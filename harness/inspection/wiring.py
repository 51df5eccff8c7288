"""Who is at the other end: from descriptor tables and the kernel's sockets to the workers behind them. Pure.

The supervisor is seen through. Where it holds an end, that is a facet, which leads from an importer's address to the
exporter's BoundSocket and back; or the control channel, where nobody but the scenario is waited for. An end that nobody
holds is in flight: a connection that lies in a queue, because nobody accepted it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from harness.facets import Way
from harness.hang import Doing, Holder, ThreadState, Waited
from harness.inspection.processes import Entry, Process, Thread
from harness.inspection.sockets import UnixSocket
from harness.inspection.syscalls import Wait
from sandbox.abi import ABSTRACT_PREFIX, CONTROL_CHANNEL_NAME, TOKEN_LENGTH

SUPERVISOR_HAS_IT: Final = "the supervisor has the other end"
HELD_BY_NOBODY: Final = "no worker holds the other end: it lies in a queue, or another process has it"
UNKNOWN: Final = "whose other end is not known here"
STOPPED: Final = frozenset("Tt")
UNINTERRUPTIBLE: Final = "D"
# Of the kind that a worker says that a descriptor has, so much is shown.
KIND_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class Named:
    """What a worker calls a descriptor, and of which kind it is."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One worker: its processes, what it calls what it holds (by identity), and the grants that it waits for.

    `owed` are (exporter, name there) of the addresses that it has been promised, and looks for now.
    """

    processes: tuple[Process, ...]
    named: Mapping[str, Named] = field(default_factory=dict)
    owed: tuple[tuple[str, str], ...] = ()


class Wiring:
    """All that is open in a run. `ours` are the identities of what the supervisor holds.

    `sockets` are the kernel's, by inode; None where it does not tell.
    """

    def __init__(
        self,
        workers: Mapping[str, Seen],
        sockets: Mapping[int, UnixSocket] | None,
        ways: Collection[Way],
        ours: Collection[str],
    ) -> None:
        self._workers = workers
        self._sockets = {_identity(inode): found for inode, found in (sockets or {}).items()}
        self._by_bound = {way.bound: way for way in ways}
        self._by_target: dict[str, list[Way]] = {}
        self._by_held = {way.held: way for way in ways if way.held}
        for way in ways:
            self._by_target.setdefault(way.target, []).append(way)
        self._ours = ours
        self._by_name = {found.name: identity for identity, found in self._sockets.items() if found.name}
        self._by_token = {_token(name): identity for name, identity in self._by_name.items()}
        self._connected: dict[int, list[str]] = {}
        for identity, found in self._sockets.items():
            self._connected.setdefault(found.peer, []).append(identity)
        self._pending = {
            _identity(client): identity for identity, found in self._sockets.items() for client in found.pending
        }
        self._holders: dict[str, list[tuple[str, Process, Entry]]] = {}
        for worker, seen in workers.items():
            for process in seen.processes:
                for entry in process.table:
                    self._holders.setdefault(entry.identity, []).append((worker, process, entry))

    def threads(self, worker: str) -> tuple[ThreadState, ...]:
        """Return where each thread of this worker is."""
        processes = self._workers[worker].processes
        return tuple(self._thread(worker, process, thread) for process in processes for thread in process.threads)

    def _thread(self, worker: str, process: Process, thread: Thread) -> ThreadState:
        wait = thread.wait
        if thread.state in STOPPED:
            return ThreadState(process.pid, thread.number, Doing.STOPPED, "", ())
        if not thread.seen:
            return ThreadState(process.pid, thread.number, Doing.UNSEEN, thread.place, ())
        if wait is None:
            doing = Doing.WAITING if thread.state == UNINTERRUPTIBLE else Doing.RUNNING
            return ThreadState(process.pid, thread.number, doing, "", ())
        if wait.sleeps:
            return ThreadState(process.pid, thread.number, Doing.SLEEPING, wait.call, (), timed=True)
        waited = tuple(self._all_waited(worker, process, wait))
        idle = bool(waited) and all(
            one.name == CONTROL_CHANNEL_NAME and not one.writes and not one.owing for one in waited
        )
        doing = Doing.IDLE if idle else Doing.WAITING
        return ThreadState(process.pid, thread.number, doing, wait.call, waited, wait.timed)

    def _all_waited(self, worker: str, process: Process, wait: Wait) -> Iterator[Waited]:
        table = {entry.number: entry for entry in process.table}
        reads = wait.reads
        if wait.epoll:
            reads = tuple(number for epoll in reads if epoll in table for number in table[epoll].watched)
        beside = [table[number] for number in reads if number in table]
        for number in reads:
            yield self._waited(worker, table, number, beside)
        for number in wait.writes:
            yield self._waited(worker, table, number, beside, writes=True, name=wait.name)

    def _waited(
        self,
        worker: str,
        table: Mapping[int, Entry],
        number: int,
        beside: list[Entry],
        *,
        writes: bool = False,
        name: bytes = b"",
    ) -> Waited:
        if number not in table:
            return Waited(number, "", "no descriptor", writes)
        entry = table[number]
        seen = self._workers[worker]
        known = seen.named.get(entry.identity, Named("", self._kind(entry)))
        facts = (number, known.name, known.kind, writes)
        if known.name == CONTROL_CHANNEL_NAME and not writes:
            owing = tuple(dict.fromkeys(exporter for exporter, _ in seen.owed))
            promised = ", ".join(f"{export or 'its address'!r} of {exporter}" for exporter, export in seen.owed)
            return Waited(*facts, owing=owing, remark=f"for what was not exported yet: {promised}" if owing else "")
        if entry.identity.startswith("pipe:["):
            return self._pipe(entry, worker, facts)
        if entry.identity not in self._sockets:
            return Waited(*facts, outside=True, remark=UNKNOWN)
        ends = list(self._writing_ends(entry, name) if writes else self._reading_ends(entry))
        holders = self._behind(ends)
        if holders:
            return Waited(*facts, holders=holders)
        if any(end in self._ours for end in ends):
            return Waited(*facts, remark=SUPERVISOR_HAS_IT)
        others = [one for one in beside if one.number != number] or [*table.values()]
        holders = self._queue_of(entry, ends, others)
        return Waited(*facts, holders=holders, queued=bool(holders), remark="" if holders else HELD_BY_NOBODY)

    def _kind(self, entry: Entry) -> str:
        if entry.identity in self._sockets:
            found = self._sockets[entry.identity]
            return f"{'listening ' if found.listening else ''}{found.type} socket"
        return entry.identity.partition(":[")[0]

    def _pipe(self, entry: Entry, worker: str, facts: tuple[int, str, str, bool]) -> Waited:
        writes = facts[3]
        ends = [
            Holder(holder, other.number, self._name(holder, other))
            for holder, _, other in self._holders[entry.identity]
            if (other.reads if writes else other.writes) and (holder, other.number) != (worker, entry.number)
        ]
        ours = entry.identity in self._ours
        return Waited(*facts, holders=tuple(dict.fromkeys(ends)), remark=SUPERVISOR_HAS_IT if ours else "")

    def _reading_ends(self, entry: Entry) -> Iterator[str]:
        """Yield the identities of all from which something could come to this socket."""
        found = self._sockets[entry.identity]
        if found.listening or found.type == "DGRAM":
            token = _token(found.name)
            if token:
                yield token
            yield from self._connected.get(found.inode, ())
        elif found.peer:
            yield _identity(found.peer)

    def _writing_ends(self, entry: Entry, name: bytes) -> Iterator[str]:
        """Yield the identity of the socket whose queue this one waits for: the one that has `name`, or its peer."""
        found = self._sockets[entry.identity]
        if name:
            if name in self._by_name:
                yield self._by_name[name]
        elif found.peer:
            yield _identity(found.peer)

    def _behind(self, ends: Iterable[str]) -> tuple[Holder, ...]:
        """Return the workers that hold one of these ends, or what a facet makes of it."""
        found = []
        for end in ends:
            for identity in (end, *self._through(end)):
                for worker, _, entry in self._holders.get(identity, ()):
                    found.append(Holder(worker, entry.number, self._name(worker, entry)))
        return tuple(dict.fromkeys(found))

    def _through(self, identity: str) -> Iterator[str]:
        """Yield what lies behind an end that the supervisor holds: the exporter's, or those of its importers."""
        way = self._by_bound.get(identity)
        if way is not None and way.target in self._sockets:
            yield _identity(self._sockets[way.target].peer)
        yield from (way.address for way in self._by_target.get(identity, ()))

    def _queue_of(self, entry: Entry, ends: list[str], others: Iterable[Entry]) -> tuple[Holder, ...]:
        """Return who holds the queue in which the other end of `entry` lies, as far as that can be told.

        `others` are the descriptors of the same worker over one of which it was sent.
        """
        if entry.identity in self._pending:
            return self._behind([self._pending[entry.identity]])
        held = [self._by_held[end].bound for end in ends if end in self._by_held]
        if held:
            return self._behind(held)
        queues = [
            identity
            for other in others
            for far in self._far(other)
            for identity in (far, *self._through(far))
            if self._is_waiting(identity)
        ]
        return tuple(holder for holder in self._behind(queues) if not self._carries_messages(holder))

    def _is_waiting(self, identity: str) -> bool:
        """Say whether something lies in this socket's queue; a datagram without bytes shows at its sender alone."""
        queue = self._sockets.get(identity)
        if queue is None:
            return False
        senders = self._connected.get(queue.inode, ())
        return bool(queue.queued) or (queue.type == "DGRAM" and any(self._sockets[one].unread for one in senders))

    def _far(self, entry: Entry) -> Iterator[str]:
        """Yield the socket that an address leads to."""
        if entry.identity in self._sockets:
            yield _identity(self._sockets[entry.identity].peer)
        elif entry.identity in self._by_token:
            yield self._by_token[entry.identity]

    def _carries_messages(self, holder: Holder) -> bool:
        named = self._workers[holder.worker].named.values()
        return any(one.name == holder.name and one.kind in {"ConnectedSocket", "DataOnlySocket"} for one in named)

    def _name(self, worker: str, entry: Entry) -> str:
        known = self._workers[worker].named.get(entry.identity)
        return known.name if known else ""


def named_by(body: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[tuple[str, Named]]:
    """Yield what a step's descriptors are called, by identity, as far as the worker told."""
    descriptors = result.get("descriptors")
    for name, described in zip(body.get("as", ()), descriptors if isinstance(descriptors, list) else (), strict=False):
        match described:
            case {"kind": str(kind), "identity": str(identity)}:
                yield identity, Named(name, kind[:KIND_MAX])


def _identity(inode: int) -> str:
    return f"socket:[{inode}]"


def _token(name: bytes) -> str:
    """Return the identity of an address that holds the token of this name; "" where it is no such name."""
    if not name.startswith(ABSTRACT_PREFIX):
        return ""
    start = len(ABSTRACT_PREFIX)
    return "token:" + name[start : start + TOKEN_LENGTH].decode("ascii", "backslashreplace")
