"""Those who need nobody else: both sides of a connection in one process."""

import _socket
import fcntl
import os
import resource
import time
from typing import Final

from sandbox.descriptors import BoundSocket, ConnectedSocket, SocketAddress
from sandbox.imc import Imc
from sandbox.programs.compare.attempt import attempt
from sandbox.protocols.acknowledged import await_acknowledgement
from sandbox.transport import CONTROL_ROOM
from sandbox.worker import Worker

TYPES: Final = {_socket.SOCK_STREAM: "STREAM", _socket.SOCK_DGRAM: "DGRAM", _socket.SOCK_SEQPACKET: "SEQPACKET"}
ACKNOWLEDGED_SECONDS: Final = 5.0


def without_names(worker: Worker) -> None:
    """Make a port, connect to it and accept."""
    made = attempt(worker, "makeboundsock", worker.imc.imc_makeboundsock)
    if made is not None:
        bound, address = made
        imc = Imc(worker.imc.protocol, global_fd=bound)
        client = attempt(worker, "connect", lambda: begun(imc, address))
        server = attempt(worker, "accept", lambda: imc.imc_accept(bound))
        if client is not None and server is not None:
            completed(imc, client, address)
            worker.report("sent", imc.imc_sendmsg(client, b"hello"))
            worker.report("received", imc.imc_recvmsg(server).data.decode())


def anatomy(worker: Worker) -> None:
    """Report which descriptors an address, a pending and an accepted connection take, and what the sockets are."""
    imc = worker.imc
    before = open_fds()
    bound, address = imc.imc_makeboundsock()
    worker.report("bound", len(open_fds() - before - {address.fileno()}))
    worker.report("address", len(open_fds() - before - {bound.fileno()}))
    before = open_fds()
    client = begun(imc, address)
    worker.report("pending", len(open_fds() - before))
    worker.report("in_flight", in_flight(bound))
    before = open_fds() - {client.fileno()}
    server = imc.imc_accept(bound)
    completed(imc, client, address)
    worker.report("accepted", len(open_fds() - before))
    worker.report("kind", [kind_of(client), kind_of(server)])
    worker.report("kind_of_port", kind_of(bound))
    worker.report("peer_name", client.socket.getpeername() != "")


def begun(imc: Imc, address: SocketAddress) -> ConnectedSocket:
    """Connect as far as it goes while nobody accepts: acknowledged begins as socketpair does, and then waits."""
    return (Imc("socketpair") if imc.protocol == "acknowledged" else imc).imc_connect(address)


def completed(imc: Imc, client: ConnectedSocket, address: SocketAddress) -> None:
    """Do the rest of connect, once it is accepted."""
    if imc.protocol == "acknowledged":
        await_acknowledgement(client, address, time.monotonic() + ACKNOWLEDGED_SECONDS)


def open_fds() -> set[int]:
    """Return the numbers of our descriptors; there is no /proc here."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return set(filter(is_open, range(limit)))


def is_open(fd: int) -> bool:
    """Say whether this is a descriptor of ours."""
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def in_flight(bound: BoundSocket) -> int:
    """Return how many descriptors lie in the queue with the pending connection; a listening socket has no messages."""
    try:
        _, control, _, _ = bound.socket.recvmsg(1, CONTROL_ROOM, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except OSError:
        return 0
    rights = [data for _, kind, data in control if kind == _socket.SCM_RIGHTS]
    fds = [int.from_bytes(data[at : at + 4], "little") for data in rights for at in range(0, len(data), 4)]
    # To look at them is to get them.
    for fd in fds:
        os.close(fd)
    return len(fds)


def kind_of(descriptor: BoundSocket | ConnectedSocket) -> str:
    """Return the type of a socket, and whether it listens."""
    sock = descriptor.socket
    listens = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN)
    return TYPES[sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_TYPE)] + (", listening" if listens else "")
