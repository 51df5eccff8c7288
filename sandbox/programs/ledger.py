"""What a server has seen of its clients, for an auditor who asks once so many of them are gone.

Who is there is in it. Of those who are gone the first are forgotten once there are too many, for else whoever comes and
goes often enough would keep out everybody else; but they still count.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sandbox.descriptors import ConnectedSocket
from sandbox.errors import MalformedMessage
from sandbox.programs.passes import Client
from sandbox.programs.server import wait_for

CLIENTS_MAX: Final = 256


class Ledger:
    """What has been seen of each client, and how many of them are gone."""

    def __init__(self, clients_max: int = CLIENTS_MAX) -> None:
        self._clients_max = clients_max
        self._changed = threading.Condition()
        self._gone = 0
        self._there: set[int] = set()
        self._seen: dict[int, tuple[str, Any]] = {}

    @contextmanager
    def client(self, client: Client, seen: Any) -> Iterator[None]:
        """Have a client until the end of the block, of which `seen` has been seen so far.

        Raises MalformedMessage for one that has been here, and where more are here than a ledger has room for.
        """
        with self._changed:
            if client.number in self._seen:
                raise MalformedMessage("a pass that was used")
            if len(self._seen) >= self._clients_max:
                self._forget_the_first()
            self._seen[client.number] = client.name, seen
            self._there.add(client.number)
        try:
            yield
        finally:
            with self._changed:
                self._there.discard(client.number)
                self._gone += 1
                self._changed.notify_all()

    def _forget_the_first(self) -> None:
        for number in self._seen:
            if number not in self._there:
                del self._seen[number]
                return
        raise MalformedMessage("one client too many")

    def note(self, client: Client, seen: Any) -> None:
        """Write down what has been seen of a client by now."""
        with self._changed:
            self._seen[client.number] = client.name, seen

    def once_gone(self, count: object, auditor: ConnectedSocket) -> dict[int, tuple[str, Any]]:
        """Wait until `count` clients are gone, and return the names of all and what was seen of them, by their numbers.

        Raises MalformedMessage for a count that is none or too high, EndOfStream once the auditor (borrowed) is gone.
        """
        if type(count) is not int or not 0 <= count <= self._clients_max:
            raise MalformedMessage(f"an audit of {count!r} clients")
        with self._changed:
            wait_for(self._changed, lambda: self._gone >= count, auditor)
            return dict(self._seen)
