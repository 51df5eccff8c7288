"""Those who are connected to."""

import os
import select
import signal
import socket
import struct
from typing import Final

from sandbox.abi import ACKNOWLEDGE, CONNECT
from sandbox.descriptors import BoundSocket, ConnectedSocket
from sandbox.programs.hostile.means import stay
from sandbox.programs.server import serve_until_stopped
from sandbox.transport import accept_connection, receive_packet, send_packet, wait_until
from sandbox.worker import Worker

HEIR_SECONDS: Final = 10
CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid


def port_of(worker: Worker) -> BoundSocket:
    """Return the service port."""
    assert worker.bound_socket is not None  # noqa: S101 - a server without a port is of no use
    return worker.bound_socket


def answers(worker: Worker) -> int:
    """Answer each message of each client in capitals."""

    def answer(connection: ConnectedSocket) -> None:
        while True:
            worker.imc.imc_sendmsg(connection, worker.imc.imc_recvmsg(connection).data.upper())

    return serve_until_stopped(worker, answer)


def looks(worker: Worker) -> None:
    """Report that a connection is pending, once it is, and never accept it."""
    wait_until(port_of(worker).socket, select.POLLIN, None)
    worker.report("pending", "a connection")
    stay(worker)


def leaves_an_heir(worker: Worker) -> None:
    """Leave the service port to a child, which accepts one connection and answers, and end before that."""
    if not os.fork():
        # Whoever reads our output, or waits for the end of the control channel, waits for us and not for the heir.
        for fd in (1, 2, 5):
            os.close(fd)
        signal.alarm(HEIR_SECONDS)
        with worker.imc.imc_accept(port_of(worker)) as connection:
            worker.imc.imc_sendmsg(connection, worker.imc.imc_recvmsg(connection).data.upper())
        os._exit(0)


def asks_who(worker: Worker) -> None:
    """Take so many connections as args.clients, and report what the kernel says of who made each, and who sent it."""
    bound = port_of(worker)
    if worker.imc.protocol != "stream":
        # Only what is sent from now on brings its sender's credentials: so nobody connects before.
        bound.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    assert worker.address is not None  # noqa: S101 - as above
    worker.export("asks", worker.address)
    seen = []
    for _ in range(worker.args["clients"]):
        connection, sender = taken(worker.imc.protocol, bound)
        with connection:
            told = connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
            seen.append({"SO_PEERCRED": CREDENTIALS.unpack(told)[0], "SCM_CREDENTIALS": sender})
    worker.report("pid", os.getpid())
    worker.report("seen", seen)


def taken(protocol: str, bound: BoundSocket) -> tuple[ConnectedSocket, int]:
    """Accept as the protocol does; return the connection, the caller's, and who sent its connect message, or 0."""
    if protocol == "stream":
        return ConnectedSocket(accept_connection(bound.socket)), 0
    packet = receive_packet(bound.socket, bytearray(len(CONNECT)))
    (fd,) = packet.fds
    connection = ConnectedSocket(fd)
    if protocol == "acknowledged":
        send_packet(connection.socket, (ACKNOWLEDGE,), nonblock=True)
    return connection, packet.sender
