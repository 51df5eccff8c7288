"""Those who are in a room (`chat_room.py`), and the judge who compares what they have heard.

Who means well does not speak faster than the slowest of them listens: it says a few lines, and goes on once it has
heard, after the first of them, all others who speak. Whoever's first is the oldest has heard them all, so somebody can
always go on; and nobody is ever so far behind that the room would drop it.

The judge compares. What has one number has to be the same for all who heard it, what one heard has to be without a gap
from its joining to its leaving, and what was heard of one has to be its script, every line, in order.
"""

import hashlib
import itertools
import json
import select
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from queue import SimpleQueue
from typing import Any, Final

from sandbox.errors import MalformedMessage
from sandbox.programs.chat_room import JOINED, LEFT, SAID
from sandbox.programs.messages import Heard, close_all, data_of, hear, memory_of, say
from sandbox.programs.server import CONNECTIONS_MAX, accept_all, telling
from sandbox.worker import Worker

LINES_AT_ONCE: Final = 5
LINE_LENGTH: Final = 8_000
HEARD_BYTES_MAX: Final = 16 * 1024 * 1024

# [number, what, name, SHA-256 of the text or ""]: what a member remembers of what has happened.
Entry = list[Any]

# Who was there, and all that it heard.
Visit = tuple[str, list[Entry]]


def line_of(name: str, number: int) -> str:
    """Return the line `number` of what `name` has to say."""
    return f"{name} says line {number}. ".ljust(LINE_LENGTH, "x")


def digest_of(text: str) -> str:
    """Return what is remembered of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


# Members


def member(worker: Worker) -> int:
    """Visit the room args.visits times, and tell the judge, where one was granted, what was heard there."""
    imc = worker.imc
    judge_ = imc.imc_connect(worker.imports["judge"]) if "judge" in worker.imports else None
    script = (line_of(worker.name, number) for number in itertools.count())
    visits = [visit(worker, script) for _ in range(worker.args.get("visits", 1))]
    if judge_ is not None:
        data = json.dumps(visits).encode()
        with memory_of(imc, data) as memory:
            say(imc, judge_, "heard", {"name": worker.name, "bytes": len(data)}, memory)
    return 0


def visit(worker: Worker, script: Iterator[str]) -> list[Entry]:
    """Join, say the next args.lines lines of the script (or lines without end), leave, and return what was heard.

    It says nothing before all of args.after have joined, and stays until all of args.until are gone.
    """
    imc, name = worker.imc, worker.name
    to_come, to_go = set(worker.args.get("after", ())), set(worker.args.get("until", ()))
    to_say = itertools.islice(script, worker.args.get("lines"))
    heard: list[Entry] = []
    with imc.imc_connect(worker.imports["room"]) as room:
        say(imc, room, "join", {"name": name, "speaks": True})
        there = hear(imc, room).body
        to_come -= there.keys()
        turn = Turn(name, (other for other, speaks in there.items() if speaks))
        while not heard or heard[-1][1:3] != [LEFT, name]:
            what, (number, who, *details), _ = hear(imc, room)
            heard.append([number, what, who, digest_of(details[0]) if what == SAID else ""])
            turn.hear(what, who, speaks=details == [True])
            if (what, who, turn.lines) == (SAID, name, 1):
                worker.report("at_work", value=True)
            to_come.discard(who)
            if what not in (JOINED, SAID):
                to_go.discard(who)
            if to_come or not turn.has_come():
                continue
            texts = list(itertools.islice(to_say, LINES_AT_ONCE))
            for text in texts:
                say(imc, room, "say", text)
            turn.spoke(len(texts))
            if not texts and not to_go:
                say(imc, room, "leave", None)
                turn.end()
    return heard


class Turn:
    """Whose turn it is, as one of the speakers sees it. `lines` is how many of its own it has heard."""

    def __init__(self, name: str, speakers: Iterable[str]) -> None:
        self._name = name
        self._speakers = {name, *speakers}
        self.lines = 0
        self._sent = self._unheard = 0
        self._awaited: set[str] = set()

    def has_come(self) -> bool:
        """Say whether it has heard all that it said, and since the first of it something of everybody else."""
        return not self._unheard and not self._awaited

    def spoke(self, lines: int) -> None:
        """Take note that it has sent so many lines."""
        self._sent = self._unheard = lines

    def end(self) -> None:
        """Take note that it will not speak again."""
        self._unheard = 1

    def hear(self, what: str, name: str, *, speaks: bool) -> None:
        """Take note of what has happened."""
        if what == JOINED:
            self._speakers |= {name} if speaks else set()
        elif what != SAID:
            self._speakers.discard(name)
            self._awaited.discard(name)
        elif name != self._name:
            self._awaited.discard(name)
        else:
            if self._unheard == self._sent:
                self._awaited = self._speakers - {name}
            self._unheard -= 1
            self.lines += 1


def deaf(worker: Worker) -> int:
    """Join, and listen to nothing but the end of the connection."""
    with worker.imc.imc_connect(worker.imports["room"]) as room:
        say(worker.imc, room, "join", {"name": worker.name, "speaks": False})
        end = select.poll()
        end.register(room.fileno(), select.POLLRDHUP)
        end.poll()
    return 0


# The judge


def judge(worker: Worker) -> int:
    """Hear args.members members, and report whether all is right and how much each has said.

    args.lines has how many lines each is to say, None where any number will do. With 1 where something is wrong. Who
    tells what nobody can have heard is reported as `malformed`, and another is waited for.
    """
    assert worker.bound_socket is not None  # noqa: S101 - nobody could tell it anything
    lines_of: Mapping[str, int | None] = worker.args["lines"]
    told = SimpleQueue[list[Visit]]()
    serve = telling(worker, lambda connection: told.put(visits_in(hear(worker.imc, connection))))
    arguments = (worker.imc, worker.bound_socket, serve, threading.BoundedSemaphore(CONNECTIONS_MAX))
    threading.Thread(target=accept_all, args=arguments, daemon=True).start()
    visits = [visit for _ in range(worker.args["members"]) for visit in told.get()]
    wrong = [*faults_in_visits(visits), *faults_in_lines(visits, lines_of)]
    for fault in wrong:
        worker.log(fault)
    worker.report("lines", {name: len(said_by(name, visits)) for name in lines_of})
    worker.report("right", not wrong)
    return int(bool(wrong))


def visits_in(heard: Heard) -> list[Visit]:
    """Return what a member tells; takes over its descriptors. Raises MalformedMessage for what is none of that."""
    match heard:
        case Heard("heard", {"name": str(name), "bytes": length}, descriptors):
            data = data_of(descriptors, length, HEARD_BYTES_MAX)
        case _:
            close_all(heard.descriptors)
            raise MalformedMessage(f"{heard.kind!r} tells nothing of what was heard")
    try:
        visits = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"no visits: {error}") from None
    if not isinstance(visits, list) or not all(isinstance(entries, list) and entries for entries in visits):
        raise MalformedMessage("no visits, or one at which nothing happened")
    if not all(is_entry(entry) for entries in visits for entry in entries):
        raise MalformedMessage("what nobody can have heard")
    return [(name, entries) for entries in visits]


def is_entry(entry: object) -> bool:
    """Say whether it could be one, whatever it says."""
    match entry:
        case [int(), str(), str(), str()]:
            return True
        case _:
            return False


def faults_in_visits(visits: Iterable[Visit]) -> Iterator[str]:
    """Yield what one has missed, and what two have heard differently."""
    happened: dict[int, tuple[str, Entry]] = {}
    for name, heard in visits:
        if heard[0][1:3] != [JOINED, name] or heard[-1][1:3] != [LEFT, name]:
            yield f"what {name} heard does not reach from its joining to its leaving"
        for entry, following in pairwise(heard):
            if following[0] != entry[0] + 1:
                yield f"{name} heard {following[0]} after {entry[0]}"
        for entry in heard:
            other, same = happened.setdefault(entry[0], (name, entry))
            if entry != same:
                yield f"{name} heard {entry[1:3]} where {other} heard {same[1:3]}: {entry[0]}"


def faults_in_lines(visits: Sequence[Visit], lines_of: Mapping[str, int | None]) -> Iterator[str]:
    """Yield whose lines are not all of its script, and in its order."""
    for name, lines in lines_of.items():
        said = said_by(name, visits)
        script = [digest_of(line_of(name, number)) for number in range(len(said) if lines is None else lines)]
        if said != script:
            yield f"{name} was not heard as it spoke"


def said_by(name: str, visits: Iterable[Visit]) -> list[str]:
    """Return the digests of what `name` said in the order of their numbers."""
    said = {number: digest for _, heard in visits for number, what, who, digest in heard if (what, who) == (SAID, name)}
    return [digest for _, digest in sorted(said.items())]
