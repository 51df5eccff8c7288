"""How the workers try a thing and say what came of it, and how far a connect comes without waiting."""

import _socket
import errno
import time
from collections.abc import Callable
from typing import Final, TypeVar

from sandbox.abi import CONNECT
from sandbox.descriptors import ConnectedSocket, SocketAddress
from sandbox.errors import ImcError
from sandbox.imc import Imc
from sandbox.protocols import abstract_name, token_of_address
from sandbox.transport import send_packet, seqpacket_pair
from sandbox.worker import Worker

T = TypeVar("T")

DONE: Final = "done"
# What a call that would have to wait says instead.
WAITS: Final = frozenset({"EAGAIN", "ETIMEDOUT"})


def attempt(worker: Worker, what: str, call: Callable[[], T]) -> T | None:
    """Return what `call` does, None where it fails, and report how it went.

    `what` is "done" or the errno's name; what_seconds how long it took; what_because the errno of the host's call that
    an errno of IMC stands for.
    """
    began = time.monotonic()
    try:
        result, said, because = call(), DONE, None
    except OSError as error:
        result, said = None, name_of(error)
        cause = error.__cause__
        because = name_of(cause) if isinstance(cause, OSError) and not isinstance(cause, ImcError) else None
    seconds = time.monotonic() - began
    if because not in (None, said):
        worker.report(f"{what}_because", because)
    worker.report(f"{what}_seconds", seconds)
    # The last of them, for it is what others wait for.
    worker.report(what, said)
    return result


def name_of(error: OSError) -> str:
    """Return the name of an error's number."""
    return errno.errorcode.get(error.errno or errno.EIO, str(error.errno))


def with_deadline(worker: Worker, seconds: float) -> Imc:
    """Return the worker's imc_* calls, but for another deadline of connect, which the acknowledged protocol has."""
    return Imc(worker.imc.protocol, worker.imc.layout, global_fd=worker.bound_socket, connect_deadline=seconds)


def knock(worker: Worker, address: SocketAddress) -> ConnectedSocket:
    """Do of connect what comes before it may have to wait, and return the connection, the caller's.

    Over stream that is all of it; over the others the connect message is in the server's queue. Raises BlockingIOError
    where there is no room, and OSError.
    """
    match worker.imc.protocol:
        case "stream":
            connection = ConnectedSocket(_socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET).detach())
            # The one call that says whether it waits by a flag of the open file, which is nobody else's here.
            connection.socket.setblocking(False)  # noqa: FBT003 - so it is called
            try:
                connection.socket.connect(abstract_name(token_of_address(address)))
            except BaseException:
                connection.close()
                raise
            return connection
        case "datagram":
            assert worker.bound_socket is not None  # noqa: S101 - the global descriptor
            return offered(worker.bound_socket.socket, b"", abstract_name(token_of_address(address)))
        case _:
            assert address.way is not None  # noqa: S101 - a pair's end
            return offered(address.way, CONNECT)


def offered(sock: _socket.socket, message: bytes, address: bytes | None = None) -> ConnectedSocket:
    """Send `message` and one end of a fresh pair, return the other. Raises BlockingIOError, OSError."""
    theirs, ours = map(ConnectedSocket, seqpacket_pair())
    with theirs:
        try:
            send_packet(sock, (message,), (theirs.fileno(),), nonblock=True, address=address)
        except BaseException:
            ours.close()
            raise
    return ours


def gone(worker: Worker, name: str) -> None:
    """Wait for an import that its exporter never exports: it comes, and leads nowhere, when the exporter has ended."""
    try:
        assert worker.imports[name].fileno() >= 0  # noqa: S101 - to ask for it is to wait for it
    except ImcError:
        "The run is over before that."
