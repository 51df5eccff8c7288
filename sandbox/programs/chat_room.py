"""A room in which everybody hears the same in the same order, and in which nobody waits for one who does not listen.

    member ── join {name, speaks} ──> room    welcome, and who is there already: {name: speaks, …}
           ── say TEXT ─────────────>         to all who are there, the speaker too: what happens, as [number, name, …]:
           ── leave ────────────────>         joined and said; left, vanished, dropped, expelled, the ways to be gone

One loop over all connections: so there is one order, and nothing to lock. It never waits for anybody. What a member
does not take is queued, and a member whose queue is full is dropped. Who has a queue is not heard until it is empty, so
that nobody can talk without listening. Who ends without a word has vanished, and what it said last may not have been
heard; who breaks the rules is expelled.
"""

import errno
import itertools
import json
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from sandbox import control
from sandbox.abi import NONBLOCK
from sandbox.descriptors import BoundSocket, ConnectedSocket
from sandbox.errors import ImcError, MalformedMessage
from sandbox.imc import Imc
from sandbox.programs.messages import decoded, receive
from sandbox.programs.server import arrivals
from sandbox.transport import discard
from sandbox.worker import Worker

MEMBERS_MAX: Final = 64
QUEUE_MAX: Final = 128
# In JSON a character can take 12 bytes, and all has to fit into a message.
TEXT_MAX: Final = 10_000
# What a name may take in a message, in bytes, and how many of them one report may have.
NAME_BYTES_MAX: Final = 200
VISITS_MAX: Final = 512

JOINED: Final = "joined"
SAID: Final = "said"
LEFT: Final = "left"
VANISHED: Final = "vanished"
DROPPED: Final = "dropped"
EXPELLED: Final = "expelled"

# By way of being gone, the names of those who are.
Gone = dict[str, list[str]]


def room(worker: Worker) -> int:
    """Serve until the supervisor closes the control channel, and report as `gone` how the first args.visits ended."""
    assert worker.bound_socket is not None  # noqa: S101 - a room without a door is of no use
    opened = Room(worker.imc, worker.args["visits"], lambda gone: worker.report("gone", gone))
    threading.Thread(target=opened.accept_all, args=(worker.bound_socket,), daemon=True).start()
    threading.Thread(target=opened.run, daemon=True).start()
    while worker.next_step() is not None:
        pass
    return 0


class Member:
    """A connection as the room holds it. It has no name before it has joined."""

    def __init__(self, imc: Imc, connection: ConnectedSocket) -> None:
        self.connection = connection
        self.name: str | None = None
        self.speaks = False
        self.is_leaving = self.is_gone = False
        self.queue: deque[bytes] = deque()
        self._imc = imc

    @property
    def is_there(self) -> bool:
        """Whether it has joined, and neither left nor gone otherwise."""
        return self.name is not None and not self.is_leaving and not self.is_gone

    def offer(self, message: bytes) -> None:
        """Send it now, or once there is room. Raises ImcError: ENOBUFS where too much is waiting already."""
        if len(self.queue) == QUEUE_MAX:
            raise ImcError(errno.ENOBUFS, "it does not listen")
        self.queue.append(message)
        if len(self.queue) == 1:
            self.flush()

    def flush(self) -> None:
        """Send what there is room for. Raises ImcError."""
        while self.queue:
            try:
                self._imc.imc_sendmsg(self.connection, self.queue[0], flags=NONBLOCK)
            except ImcError as error:
                if error.errno == errno.EAGAIN:
                    return
                raise
            self.queue.popleft()


class Room:
    """Those who are connected, and what happens. Everything but `accept_all` belongs to the thread of `run`."""

    def __init__(self, imc: Imc, visits: int, report: Callable[[Gone], None]) -> None:
        """Open a room that calls `report` once `visits` members have come and gone.

        Raises ValueError for more than one report may have.
        """
        if visits > VISITS_MAX:
            raise ValueError(f"{visits} visits, more than {VISITS_MAX}")
        # Descriptors that nobody asked for. They may take their time to be closed, and the loop has none.
        self._unwanted: list[int] = []
        self._imc = Imc(imc.protocol, imc.layout, discard=self._unwanted.extend)
        self._accepting = imc
        self._visits_to_come = visits
        self._report = report
        self._gone: Gone = {LEFT: [], VANISHED: [], DROPPED: [], EXPELLED: []}
        self._numbers = itertools.count()
        self._members: dict[int, Member] = {}
        self._places = threading.BoundedSemaphore(MEMBERS_MAX)
        self._is_open = True
        self._arrivals: SimpleQueue[ConnectedSocket | None] = SimpleQueue()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)

    def accept_all(self, bound: BoundSocket) -> None:
        """Let in whoever connects while there is a place, until nobody holds the address any more."""
        for connection in arrivals(self._accepting, bound):
            if self._places.acquire(blocking=False):
                self._announce(connection)
            else:
                threading.Thread(target=connection.close, daemon=True).start()
        self._announce(None)

    def _announce(self, arrival: ConnectedSocket | None) -> None:
        self._arrivals.put(arrival)
        os.eventfd_write(self._bell, 1)

    def run(self) -> None:
        """Hear everybody, until nobody can come any more and all are gone."""
        while self._is_open or self._members:
            for fd, events in self._poll.poll():
                if fd == self._bell:
                    self._let_in()
                elif fd in self._members:
                    self._attend(self._members[fd], events)
        for _ in range(MEMBERS_MAX):
            self._places.acquire()
        os.close(self._bell)

    def _let_in(self) -> None:
        for _ in range(os.eventfd_read(self._bell)):
            connection = self._arrivals.get()
            if connection is None:
                self._is_open = False
            else:
                self._members[connection.fileno()] = member = Member(self._imc, connection)
                self._watch(member)

    def _watch(self, member: Member) -> None:
        """Wait for the member to take what is queued, or else for it to say something."""
        self._poll.register(member.connection.fileno(), select.POLLOUT if member.queue else select.POLLIN)

    def _attend(self, member: Member, events: int) -> None:
        try:
            member.flush()
            if events & ~select.POLLOUT and not member.is_leaving:
                self._hear(member)
        except MalformedMessage:
            self._end(member, EXPELLED)
        except ImcError as error:
            if error.errno != errno.EAGAIN:
                self._end(member, VANISHED)
        if member.is_leaving and not member.queue and not member.is_gone:
            self._close(member)
        elif not member.is_gone:
            self._watch(member)

    def _hear(self, member: Member) -> None:
        """Do what a member says. Raises ImcError: MalformedMessage where it may not say that."""
        message = receive(self._imc, member.connection, NONBLOCK)
        self._unwanted.extend(descriptor.take() for descriptor in message.descriptors)
        if message.descriptors:
            raise MalformedMessage("there is nothing to give here")
        match decoded(message.data):
            case "join", {"name": str(name), "speaks": bool(speaks)} if member.name is None:
                self._join(member, name, speaks=speaks)
            case "say", str(text) if member.speaks and len(text) <= TEXT_MAX:
                self._tell(SAID, member, text)
            case "leave", None if member.name is not None:
                member.is_leaving = True
                self._note(member, LEFT)
                self._tell(LEFT, member)
            case kind, _:
                raise MalformedMessage(f"{kind!r} is not for it to say")

    def _join(self, member: Member, name: str, *, speaks: bool) -> None:
        there = {other.name: other.speaks for other in self._members.values() if other.is_there}
        if name in there or len(json.dumps(name)) > NAME_BYTES_MAX:
            raise MalformedMessage("a name that is taken, or too long")
        member.offer(control.encode("welcome", there))
        member.name, member.speaks = name, speaks
        self._tell(JOINED, member, speaks)

    def _tell(self, what: str, about: Member, *details: object) -> None:
        """Tell everybody who is there, and whom it is about, what happens; who cannot be told is gone."""
        message = control.encode(what, [next(self._numbers), about.name, *details])
        lost = []
        for member in [member for member in self._members.values() if member.is_there or member is about]:
            try:
                member.offer(message)
                self._watch(member)
            except ImcError as error:
                lost.append((member, DROPPED if error.errno == errno.ENOBUFS else VANISHED))
        for member, way in lost:
            self._end(member, way)

    def _end(self, member: Member, way: str) -> None:
        """Be rid of a member, unless it is gone already, and tell the others if it was there."""
        if member.is_gone:
            return
        was_there = member.is_there
        self._close(member)
        if was_there:
            self._note(member, way)
            self._tell(way, member)

    def _note(self, member: Member, way: str) -> None:
        """Remember how a visit ended, unless there have been enough."""
        if self._visits_to_come and member.name is not None:
            self._gone[way].append(member.name)
            self._visits_to_come -= 1
            if not self._visits_to_come:
                self._report({how: sorted(names) for how, names in self._gone.items()})

    def _close(self, member: Member) -> None:
        """Close the connection, and what came over it and was not wanted; its place is free once that is done."""
        member.is_gone = True
        fd = member.connection.fileno()
        self._poll.unregister(fd)
        del self._members[fd]
        unwanted = self._unwanted.copy()
        self._unwanted.clear()

        def close() -> None:
            member.connection.close()
            discard(unwanted)
            self._places.release()

        threading.Thread(target=close, daemon=True).start()
