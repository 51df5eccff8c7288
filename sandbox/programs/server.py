"""One thread a connection, and so many at most: a client that says nothing, or reads nothing, holds up itself alone.

Who holds all connections keeps others out; who sends what takes its time to be closed has its own thread wait for it.
"""

import threading
from collections.abc import Callable
from typing import Final

from sandbox.descriptors import BoundSocket, ConnectedSocket
from sandbox.errors import EndOfStream, ImcError
from sandbox.imc import Imc
from sandbox.worker import Worker

CONNECTIONS_MAX: Final = 64

# Talks with one client until it ends; the connection is borrowed. An ImcError that it raises is the client's end.
Serve = Callable[[ConnectedSocket], None]


def serve_until_stopped(worker: Worker, serve: Serve, connections_max: int = CONNECTIONS_MAX) -> int:
    """Serve whoever connects to the service port until the supervisor closes the control channel, and return 0."""
    assert worker.bound_socket is not None  # noqa: S101 - a server without a port is of no use
    slots = threading.BoundedSemaphore(connections_max)
    arguments = (worker.imc, worker.bound_socket, serve, slots)
    threading.Thread(target=accept_all, args=arguments, daemon=True).start()
    while worker.next_step() is not None:
        pass
    return 0


def accept_all(imc: Imc, bound: BoundSocket, serve: Serve, slots: threading.BoundedSemaphore) -> None:
    """Give each connection a thread, until nobody holds the address any more; close those that `slots` has none for."""
    while True:
        try:
            connection = imc.imc_accept(bound)
        except EndOfStream:
            return
        except ImcError:
            continue
        if slots.acquire(blocking=False):
            threading.Thread(target=_serve, args=(connection, serve, slots), daemon=True).start()
        else:
            threading.Thread(target=connection.close, daemon=True).start()


def _serve(connection: ConnectedSocket, serve: Serve, slots: threading.BoundedSemaphore) -> None:
    try:
        with connection:
            serve(connection)
    except ImcError:
        "The client is gone."
    finally:
        slots.release()
