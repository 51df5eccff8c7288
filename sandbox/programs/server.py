"""One thread a connection, and so many at most: a client that says nothing, or reads nothing, holds up itself alone.

Who holds all connections keeps others out; who sends what takes its time to be closed has its own thread wait for it.
"""

import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from sandbox.descriptors import BoundSocket, ConnectedSocket
from sandbox.errors import EndOfStream, ImcError, MalformedMessage
from sandbox.imc import Imc
from sandbox.worker import Worker

CONNECTIONS_MAX: Final = 64

# Seconds. No event tells when a descriptor is free again, nor when either of two things has happened that we wait for.
BACK_OFF_FIRST: Final = 0.001
BACK_OFF_LONGEST: Final = 0.1
HANG_UP: Final = 0.1

REASONS_MAX: Final = 8
REASON_LENGTH: Final = 200

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
    for connection in arrivals(imc, bound):
        if slots.acquire(blocking=False):
            threading.Thread(target=_serve, args=(connection, serve, slots), daemon=True).start()
        else:
            threading.Thread(target=connection.close, daemon=True).start()


def arrivals(imc: Imc, bound: BoundSocket) -> Iterator[ConnectedSocket]:
    """Yield each connection, the caller's, until nobody holds the address any more.

    What fails for another reason than a bad message is likely to fail again at once, as where no descriptor is free:
    so it is tried again after a pause, each time a longer one.
    """
    pause = 0.0
    while True:
        try:
            connection = imc.imc_accept(bound)
        except EndOfStream:
            return
        except MalformedMessage:
            continue
        except ImcError:
            pause = min(max(pause * 2, BACK_OFF_FIRST), BACK_OFF_LONGEST)
            time.sleep(pause)
        else:
            pause = 0.0
            yield connection


def telling(worker: Worker, serve: Serve) -> Serve:
    """Return `serve`, but report as `malformed` why clients were turned away: the first few of them, no more."""
    reasons: list[str] = []
    lock = threading.Lock()

    def serve_and_tell(connection: ConnectedSocket) -> None:
        try:
            serve(connection)
        except MalformedMessage as error:
            with lock:
                if len(reasons) < REASONS_MAX:
                    reasons.append(str(error.strerror)[:REASON_LENGTH])
                    worker.report("malformed", reasons)
            raise

    return serve_and_tell


def wait_for(changed: threading.Condition, arrived: Callable[[], bool], client: ConnectedSocket) -> None:
    """Wait, `changed` held, until `arrived`. Raises EndOfStream once the client that asked for it has hung up."""
    while not changed.wait_for(arrived, HANG_UP):
        if has_hung_up(client):
            raise EndOfStream("the client is gone")


def has_hung_up(connection: ConnectedSocket) -> bool:
    """Say whether nobody is there any more, though the thread that serves the connection may not know it yet."""
    if connection.fileno() < 0:
        return True
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLRDHUP)
    return bool(poller.poll(0))


def _serve(connection: ConnectedSocket, serve: Serve, slots: threading.BoundedSemaphore) -> None:
    try:
        with connection:
            serve(connection)
    except ImcError:
        "The client is gone."
    finally:
        slots.release()
