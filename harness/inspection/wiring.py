"""Who is at the other end: from descriptor tables and the kernel's sockets to the workers behind them. Pure.

The supervisor is seen through. Where it holds an end, that is a facet, which leads from an importer's address to the
exporter's BoundSocket and back; or the control channel, where nobody but the scenario is waited for. An end that nobody
holds is in flight: a connection that lies in a queue, because nobody accepted it.

Workers choose how much there is to be told. So the work is bounded, and what is at an end is found out once for all.
"""

import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from harness.facets import Way
from harness.hang import Doing, Holder, Part, ThreadState, Waited
from harness.inspection.processes import Entry, Process, Thread
from harness.inspection.sockets import UnixSocket
from harness.inspection.syscalls import Wait
from sandbox.abi import ABSTRACT_PREFIX, CONTROL_CHANNEL_NAME, TOKEN_LENGTH

SUPERVISOR_HAS_IT: Final = "the supervisor has the other end"
BY_NAME: Final = "somebody has to connect to its name, and no end of that can be told"
HELD_BY_NOBODY: Final = "no worker holds the other end: it lies in a queue, or another process has it"
UNKNOWN: Final = "whose other end is not known here"
STOPPED: Final = frozenset("Tt")
UNINTERRUPTIBLE: Final = "D"

# Of the kind that a worker says that a descriptor has, so much is shown.
KIND_MAX: Final = 40
# Of a thread so many descriptors that it waits on are looked at, and of an end so many holders that one worker is.
WAITED_MAX: Final = 64
HOLDERS_MAX: Final = 32
# Of a worker so many descriptors that it waits on, and holders of their other ends, together.
ENDS_MAX: Final = 16_384


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


@dataclass(slots=True)
class Bounds:
    """What may still be looked at of one worker, and until when (monotonic). `unseen` is what was left out."""

    unseen: set[Part]
    until: float
    ends: int = ENDS_MAX

    def are_reached(self) -> bool:
        """Say whether it is enough."""
        return self.ends <= 0 or time.monotonic() > self.until


@dataclass(frozen=True, slots=True)
class OtherEnds:
    """What is at the other end of a descriptor: sockets by identity, and the workers that hold them."""

    identities: tuple[str, ...]
    holders: tuple[Holder, ...]
    ours: bool


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
            if found.peer:
                self._connected.setdefault(found.peer, []).append(identity)
        self._pending = {
            _identity(client): identity for identity, found in self._sockets.items() for client in found.pending
        }
        self._holders: dict[str, list[tuple[str, Entry]]] = {}
        for worker, seen in workers.items():
            held: Counter[tuple[str, bool, bool]] = Counter()
            for entry in (entry for process in seen.processes for entry in process.table):
                held[entry.identity, entry.reads, entry.writes] += 1
                if held[entry.identity, entry.reads, entry.writes] <= HOLDERS_MAX:
                    self._holders.setdefault(entry.identity, []).append((worker, entry))
        self._carriers = {
            (worker, named.name)
            for worker, seen in workers.items()
            for named in seen.named.values()
            if named.kind in {"ConnectedSocket", "DataOnlySocket"}
        }
        # What was found out already.
        self._found_ends: dict[tuple[str, bool, bytes], OtherEnds] = {}
        self._found_queues: dict[str, tuple[str, ...]] = {}
        self._found_acceptors: dict[str, tuple[Holder, ...]] = {}

    def threads(self, worker: str, until: float = math.inf) -> tuple[tuple[ThreadState, ...], frozenset[Part]]:
        """Return where each thread of this worker is, as far as there is time (monotonic), and what is left out."""
        processes = self._workers[worker].processes
        bounds = Bounds({part for process in processes for part in process.unseen}, until)
        states = []
        for process in processes:
            table = {entry.number: entry for entry in process.table}
            states += [self._thread(worker, process, table, thread, bounds) for thread in process.threads]
        return tuple(states), frozenset(bounds.unseen)

    def _thread(
        self, worker: str, process: Process, table: Mapping[int, Entry], thread: Thread, bounds: Bounds
    ) -> ThreadState:
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
        waited = tuple(self._all_waited(worker, table, wait, bounds))
        idle = bool(waited) and all(
            one.name == CONTROL_CHANNEL_NAME and not one.writes and not one.owing for one in waited
        )
        doing = Doing.IDLE if idle else Doing.WAITING
        return ThreadState(process.pid, thread.number, doing, wait.call, waited, wait.timed)

    def _all_waited(self, worker: str, table: Mapping[int, Entry], wait: Wait, bounds: Bounds) -> Iterator[Waited]:
        reads, more = wait.reads, wait.more
        if wait.epoll:
            epolls = [table[epoll] for epoll in reads if epoll in table]
            reads = tuple(number for epoll in epolls for number in epoll.watched)
            more = any(epoll.more for epoll in epolls)
        waits = list(dict.fromkeys(chain(((number, False) for number in reads), ((n, True) for n in wait.writes))))
        if more or len(waits) > WAITED_MAX:
            bounds.unseen.add(Part.WAITED)
        del waits[WAITED_MAX:]
        beside = [table[number] for number, writes in waits if not writes and number in table]
        for number, writes in waits:
            if bounds.are_reached():
                bounds.unseen.add(Part.WAITED)
                return
            waited = self._waited(worker, table, number, beside, writes=writes, name=wait.name if writes else b"")
            bounds.ends -= 1 + len(waited.holders)
            yield waited

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
        ends = self._other_ends(entry, name, writes=writes)
        found = self._sockets[entry.identity]
        if not writes and (found.listening or (found.type == "DGRAM" and found.name)):
            return Waited(*facts, holders=ends.holders, by_name=True, remark=BY_NAME)
        if ends.holders:
            return Waited(*facts, holders=ends.holders)
        if ends.ours:
            return Waited(*facts, remark=SUPERVISOR_HAS_IT)
        others = [one for one in beside if one.number != number] or table.values()
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
            for holder, other in self._holders[entry.identity]
            if (other.reads if writes else other.writes) and (holder, other.number) != (worker, entry.number)
        ]
        ours = entry.identity in self._ours
        return Waited(*facts, holders=tuple(dict.fromkeys(ends)), remark=SUPERVISOR_HAS_IT if ours else "")

    def _other_ends(self, entry: Entry, name: bytes, *, writes: bool) -> OtherEnds:
        key = entry.identity, writes, name
        if key not in self._found_ends:
            found = self._writing_ends(entry, name) if writes else self._reading_ends(entry)
            ends = tuple(dict.fromkeys(found))
            ours = any(end in self._ours for end in ends)
            self._found_ends[key] = OtherEnds(ends, self._behind(ends), ours)
        return self._found_ends[key]

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
                for worker, entry in self._holders.get(identity, ()):
                    found.append(Holder(worker, entry.number, self._name(worker, entry)))
        return tuple(dict.fromkeys(found))

    def _through(self, identity: str) -> Iterator[str]:
        """Yield what lies behind an end that the supervisor holds: the exporter's, or those of its importers.

        Where a facet leads to a facet, all of them.
        """
        way = self._by_bound.get(identity)
        while way is not None and way.target in self._sockets:
            beyond = _identity(self._sockets[way.target].peer)
            yield beyond
            way = self._by_bound.get(beyond)
        targets = [identity]
        while targets:
            for way in self._by_target.get(targets.pop(), ()):
                yield way.address
                if way.bound in self._sockets:
                    targets += self._connected.get(self._sockets[way.bound].inode, ())

    def _queue_of(self, entry: Entry, ends: OtherEnds, others: Iterable[Entry]) -> tuple[Holder, ...]:
        """Return who holds the queue in which the other end of `entry` lies, as far as that can be told.

        `others` are the descriptors of the same worker over one of which it was sent.
        """
        if entry.identity in self._pending:
            return self._behind([self._pending[entry.identity]])
        held = [self._by_held[end].bound for end in ends.identities if end in self._by_held]
        if held:
            return self._behind(held)
        addresses = dict.fromkeys(other.identity for other in others)
        queues = dict.fromkeys(queue for address in addresses for queue in self._queues_behind(address))
        return tuple(dict.fromkeys(chain.from_iterable(map(self._acceptors, queues))))

    def _queues_behind(self, address: str) -> tuple[str, ...]:
        """Return the queues to which this address leads, and in which something lies."""
        if address not in self._found_queues:
            found = [identity for far in self._far(address) for identity in (far, *self._through(far))]
            self._found_queues[address] = tuple(filter(self._is_waiting, found))
        return self._found_queues[address]

    def _acceptors(self, queue: str) -> tuple[Holder, ...]:
        """Return who could accept what lies in this queue; what carries messages has none to be accepted."""
        if queue not in self._found_acceptors:
            holders = self._behind([queue])
            self._found_acceptors[queue] = tuple(one for one in holders if (one.worker, one.name) not in self._carriers)
        return self._found_acceptors[queue]

    def _is_waiting(self, identity: str) -> bool:
        """Say whether something lies in this socket's queue; a datagram without bytes shows at its sender alone."""
        queue = self._sockets.get(identity)
        if queue is None:
            return False
        senders = self._connected.get(queue.inode, ())
        return bool(queue.queued) or (queue.type == "DGRAM" and any(self._sockets[one].unread for one in senders))

    def _far(self, address: str) -> Iterator[str]:
        """Yield the socket that an address leads to."""
        if address in self._sockets:
            if peer := self._sockets[address].peer:
                yield _identity(peer)
        elif address in self._by_token:
            yield self._by_token[address]

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
