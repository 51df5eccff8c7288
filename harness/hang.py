"""Why a run hung, as data: where each worker was when a deadline passed, who waits for whom, what was forgotten."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Doing(Enum):
    """What a worker was doing. The first three may end by themselves, the others need somebody else."""

    RUNNING = "running"
    SLEEPING = "sleeping"
    UNSEEN = "not to be seen"
    WAITING = "waiting"
    IDLE = "idle"
    STOPPED = "stopped"
    ENDED = "ended"

    def __str__(self) -> str:
        return self.value

    @property
    def acts(self) -> bool:
        """Whether it may go on without anybody's help."""
        return self in {Doing.RUNNING, Doing.SLEEPING, Doing.UNSEEN}


class Part(Enum):
    """Of what there is more than was looked at. `SOCKETS` are the machine's, all others a worker's own."""

    THREADS = "threads"
    PROCESSES = "children"
    DESCRIPTORS = "descriptors"
    WAITED = "what it waits on"
    SOCKETS = "the kernel's sockets"

    def __str__(self) -> str:
        return self.value


# Who has more of these than was looked at may be at the other end of anything.
HOLDINGS: Final = frozenset({Part.PROCESSES, Part.DESCRIPTORS, Part.SOCKETS})


@dataclass(frozen=True, slots=True)
class Holder:
    """A worker that holds the other end of what is waited for, at `number`; `name` is what it calls it, or ""."""

    worker: str
    number: int
    name: str = ""

    def __str__(self) -> str:
        return f"{self.worker}'s {numbered(self.number, self.name)}"


@dataclass(frozen=True, slots=True)
class Waited:
    """A descriptor that a thread waits on, and who could end that.

    `kind` is that of `sandbox.descriptors` where it is known, else what the kernel says. `writes`: it waits for room,
    not for something to come. `holders` hold the other end, or an address of this one, if need be by way of a facet;
    where a worker has many of it, a few of these. `queued`: what they hold is the queue in which that end lies, since
    nobody has accepted it. `owing` are workers that have yet to export the address that it waits for. `outside`: it is
    for the world, or for who knows what. `by_name`: somebody has to connect to a name, and nothing tells that nobody
    will, whoever holds the address. `remark` is what else is known of the other end, or "".
    """

    number: int
    name: str
    kind: str
    writes: bool
    holders: tuple[Holder, ...] = ()
    queued: bool = False
    owing: tuple[str, ...] = ()
    outside: bool = False
    by_name: bool = False
    remark: str = ""

    @property
    def awaited(self) -> frozenset[str]:
        """The workers who could end the wait."""
        return frozenset({*(holder.worker for holder in self.holders), *self.owing})

    def __str__(self) -> str:
        return numbered(self.number, self.name)


@dataclass(frozen=True, slots=True)
class ThreadState:
    """One thread. `process` and `thread` are the host's numbers; `call` is the system call it is in, or "".

    `timed`: the call ends by itself. A worker's own children count as threads of it.
    """

    process: int
    thread: int
    doing: Doing
    call: str
    waited: tuple[Waited, ...]
    timed: bool = False


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker. `step` is the scenario's step that it was at; `stack` are the lines of its Python stack.

    `last_output` is the end of what it wrote, by pipe, as text. `unseen` is of what it has more than was looked at: if
    anything, it may act, whatever the rest of it does. `remark` says what could not be learned, and why.
    """

    name: str
    doing: Doing
    threads: tuple[ThreadState, ...] = ()
    step: str = ""
    last_output: Mapping[str, str] | None = None
    stack: tuple[str, ...] = ()
    unseen: frozenset[Part] = frozenset()
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """`waiter` waits for `awaited`; `reason` says by what, as "recvmsg on 8 'to_b'"."""

    waiter: str
    awaited: str
    reason: str


@dataclass(frozen=True, slots=True)
class Circle:
    """Workers that wait for one another, each for the next one and the last for the first.

    `ways_out` are those who could end that from outside; without any, it is a deadlock.
    """

    edges: tuple[Edge, ...]
    ways_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """`waiter` waits in `call`, and whoever could end that is idle, or itself: somebody forgot to close or send."""

    waiter: str
    call: str
    waited: tuple[Waited, ...]


@dataclass(frozen=True, slots=True)
class Hang:
    """All that was learned between a deadline and the end of the run."""

    workers: Mapping[str, WorkerState]
    edges: tuple[Edge, ...]
    circles: tuple[Circle, ...]
    forgotten: tuple[Forgotten, ...]


def numbered(number: int, name: str) -> str:
    """Return a descriptor as a reader is told of it: "8 'to_b'", "8"."""
    return f"{number} {name!r}" if name else str(number)
