"""An echo that gives nobody an advantage: one thread a connection, and when there are too many, one has to go.

It is the oldest of those who have said nothing yet; only then, of the others, the one that has been silent for longest.
So many connections that say nothing cost those who speak none of theirs. A malformed message is not answered, and the
next one may be good; what a message carries is closed.
"""

import _socket
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import Final

from sandbox.descriptors import ConnectedSocket
from sandbox.errors import EndOfStream, ImcError, MalformedMessage
from sandbox.imc import Imc
from sandbox.transport import discard
from sandbox.worker import Worker

CONNECTIONS_MAX: Final = 128


def main(worker: Worker) -> int:
    """Serve until the supervisor closes the control channel."""
    assert worker.bound_socket is not None  # noqa: S101 - a server without a port is of no use
    assert worker.address is not None  # noqa: S101 - as above
    # Kept, it would be a holder of the address itself, and accept would never end.
    worker.address.close()
    arguments = (worker, Guests(worker.imc))
    threading.Thread(target=accept_all, args=arguments, daemon=True).start()
    while worker.next_step() is not None:
        pass
    return 0


def accept_all(worker: Worker, guests: "Guests") -> None:
    """Accept until nobody holds the address any more, whatever else may arrive."""
    assert worker.bound_socket is not None  # noqa: S101 - main looked
    while True:
        try:
            connection = worker.imc.imc_accept(worker.bound_socket)
        except EndOfStream:
            worker.report("accept ended", value=True)
            return
        except ImcError:
            continue
        guests.admit(connection)


class Guests:
    """Those who are connected: who has said nothing yet, and the others, the longest silence first in both."""

    def __init__(self, imc: Imc) -> None:
        self._imc = imc
        self._silent: OrderedDict[ConnectedSocket, None] = OrderedDict()
        self._speaking: OrderedDict[ConnectedSocket, None] = OrderedDict()
        self._lock = threading.Lock()

    def admit(self, connection: ConnectedSocket) -> None:
        """Take over a connection, and hang up on one where there are too many."""
        with self._lock:
            if len(self._silent) + len(self._speaking) == CONNECTIONS_MAX:
                leaves, _ = (self._silent or self._speaking).popitem(last=False)
                # Its own thread closes it, and learns of it in whichever call it waits.
                with suppress(OSError):
                    leaves.socket.shutdown(_socket.SHUT_RDWR)
            self._silent[connection] = None
        threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: ConnectedSocket) -> None:
        try:
            while self._answer(connection):
                pass
        finally:
            with self._lock:
                self._silent.pop(connection, None)
                self._speaking.pop(connection, None)
            discard([connection.take()])

    def _answer(self, connection: ConnectedSocket) -> bool:
        """Say one message back, and whether there may be more."""
        try:
            message = self._imc.imc_recvmsg(connection)
            discard(descriptor.take() for descriptor in message.descriptors)
            self._imc.imc_sendmsg(connection, message.data)
        except MalformedMessage:
            return True
        except ImcError:
            return False
        with self._lock:
            if self._speaking.pop(connection, self) is None or self._silent.pop(connection, self) is None:
                self._speaking[connection] = None
        return True
