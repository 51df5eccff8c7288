"""Two workers that move messages, each in its turn: ours, raw ones, multiprocessing's; and how long each way takes.

Both have the same CONTESTS and take the same turns, so neither has to tell the other what comes next. The peers run in
the same two processes, under the same confinement: what differs is what stands between the program and the kernel. Each
loop is written out, as a program's is: to call with *arguments costs more, and most where Python calls Python.
"""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, Final

from sandbox.descriptors import ConnectedSocket, SocketAddress
from sandbox.imc import Imc
from sandbox.worker import Worker


@dataclass(frozen=True)
class Ours:
    """IMC messages."""

    imc: Imc
    connection: ConnectedSocket
    data: bytes

    def send(self, count: int) -> None:
        """Send so many."""
        send, connection, data = self.imc.imc_sendmsg, self.connection, self.data
        for _ in range(count):
            send(connection, data)

    def receive(self, count: int) -> None:
        """Receive so many."""
        receive, connection = self.imc.imc_recvmsg, self.connection
        for _ in range(count):
            receive(connection)

    def ask(self, count: int) -> None:
        """Send so many, each after the answer to the one before."""
        send, receive, connection, data = self.imc.imc_sendmsg, self.imc.imc_recvmsg, self.connection, self.data
        for _ in range(count):
            send(connection, data)
            receive(connection)

    def answer(self, count: int) -> None:
        """Receive so many and answer each."""
        send, receive, connection, data = self.imc.imc_sendmsg, self.imc.imc_recvmsg, self.connection, self.data
        for _ in range(count):
            receive(connection)
            send(connection, data)


@dataclass(frozen=True)
class Theirs:
    """Two functions that take one argument: what is sent, and how much is wanted."""

    sends: Callable[[Any], object]
    sent: object
    receives: Callable[[int], object]
    wanted: int

    def send(self, count: int) -> None:
        """Send so many."""
        send, sent = self.sends, self.sent
        for _ in range(count):
            send(sent)

    def receive(self, count: int) -> None:
        """Receive so many."""
        receive, wanted = self.receives, self.wanted
        for _ in range(count):
            receive(wanted)

    def ask(self, count: int) -> None:
        """Send so many, each after the answer to the one before."""
        send, sent, receive, wanted = self.sends, self.sent, self.receives, self.wanted
        for _ in range(count):
            send(sent)
            receive(wanted)

    def answer(self, count: int) -> None:
        """Receive so many and answer each."""
        send, sent, receive, wanted = self.sends, self.sent, self.receives, self.wanted
        for _ in range(count):
            receive(wanted)
            send(sent)


@dataclass(frozen=True)
class OurAddress:
    """An IMC message that carries a SocketAddress, which the receiver closes."""

    imc: Imc
    connection: ConnectedSocket
    address: SocketAddress

    def send(self, count: int) -> None:
        """Send so many."""
        send, connection, address = self.imc.imc_sendmsg, self.connection, self.address
        for _ in range(count):
            send(connection, b"", (address,))

    def receive(self, count: int) -> None:
        """Receive so many, and close what they carry."""
        receive, connection = self.imc.imc_recvmsg, self.connection
        for _ in range(count):
            receive(connection).descriptors[0].close()


@dataclass(frozen=True)
class Handle:
    """What multiprocessing.reduction has."""

    pipe: Connection
    fd: int

    def send(self, count: int) -> None:
        """Send so many."""
        pipe, fd = self.pipe, self.fd
        for _ in range(count):
            send_handle(pipe, fd, 0)

    def receive(self, count: int) -> None:
        """Receive so many, and close what they carry."""
        pipe = self.pipe
        for _ in range(count):
            os.close(recv_handle(pipe))


@dataclass(frozen=True)
class Fds:
    """What `socket` has."""

    raw: socket.socket
    fd: int

    def send(self, count: int) -> None:
        """Send so many."""
        raw, fd = self.raw, self.fd
        for _ in range(count):
            socket.send_fds(raw, [b"c"], [fd])

    def receive(self, count: int) -> None:
        """Receive so many, and close what they carry."""
        raw = self.raw
        for _ in range(count):
            os.close(socket.recv_fds(raw, 1, 1)[1][0])


class Wires:
    """What two processes are connected by: an IMC connection, a raw SEQPACKET pair, a pipe of multiprocessing."""

    def __init__(self, worker: Worker, pipe: Callable[[socket.socket], int]) -> None:
        connection = worker.inherited["imc"]
        assert isinstance(connection, ConnectedSocket)  # noqa: S101 - the topology says so
        self.connection = connection
        self.imc = worker.imc
        self.raw = socket.socket(fileno=worker.inherited["raw"].take())
        self.pipe = Connection(pipe(self.raw))
        # An address to send, over and over.
        self.bound, self.address = self.imc.imc_makeboundsock()

    def ours(self, size: int) -> Ours:
        """Use IMC messages."""
        return Ours(self.imc, self.connection, bytes(size))

    def plain(self, size: int) -> Theirs:
        """Use nothing but the two system calls."""
        return Theirs(self.raw.sendmsg, [bytes(size)], self.raw.recvmsg, size)

    def piped(self, size: int) -> Theirs:
        """Use what multiprocessing.Pipe() returns."""
        return Theirs(self.pipe.send_bytes, bytes(size), self.pipe.recv_bytes, size)

    def our_address(self, _: int) -> OurAddress:
        """Use an IMC message that carries a SocketAddress."""
        return OurAddress(self.imc, self.connection, self.address)

    def handle(self, _: int) -> Handle:
        """Use multiprocessing.reduction."""
        return Handle(self.pipe, self.address.fileno())

    def fds(self, _: int) -> Fds:
        """Use socket.send_fds."""
        return Fds(self.raw, self.address.fileno())


@dataclass(frozen=True)
class Contest:
    """So many messages of `size` bytes, there and `back` or there alone, in each of the ways in turn."""

    name: str
    back: bool
    size: int
    count: int
    ways: tuple[Callable[[Wires, int], Any], ...]


CONTESTS: Final = (
    Contest("round trip", back=True, size=64, count=2000, ways=(Wires.ours, Wires.plain, Wires.piped)),
    Contest("64 bytes", back=False, size=64, count=4000, ways=(Wires.ours, Wires.plain)),
    Contest("4096 bytes", back=False, size=4096, count=3000, ways=(Wires.ours, Wires.plain)),
    Contest("65536 bytes", back=False, size=65536, count=600, ways=(Wires.ours, Wires.plain)),
    Contest("descriptor", back=False, size=0, count=2000, ways=(Wires.our_address, Wires.handle, Wires.fds)),
)


def client(worker: Worker) -> None:
    """Report of each way of each contest how many seconds a message took: a list of the turns of each round."""
    wires = Wires(worker, send_pipe)
    rounds, turns = worker.args["rounds"], worker.args["turns"]
    for contest in CONTESTS:
        taken = {way.__name__: [[0.0] * turns for _ in range(rounds)] for way in contest.ways}
        for number in range(rounds):
            for turn in range(turns):
                for way in contest.ways:
                    began = time.perf_counter()
                    ask(contest, way(wires, contest.size), wires)
                    taken[way.__name__][number][turn] = (time.perf_counter() - began) / contest.count
        worker.report(contest.name, taken)


def server(worker: Worker) -> None:
    """Answer."""
    wires = Wires(worker, receive_pipe)
    for contest in CONTESTS:
        for _ in range(worker.args["rounds"] * worker.args["turns"]):
            for way in contest.ways:
                answer(contest, way(wires, contest.size), wires)


def ask(contest: Contest, way: Any, wires: Wires) -> None:
    """Send all messages, each after the answer to the one before, or one after the other until all have come."""
    if contest.back:
        way.ask(contest.count)
    else:
        way.send(contest.count)
        wires.raw.recv(1)


def answer(contest: Contest, way: Any, wires: Wires) -> None:
    """Receive all messages, and answer each or the last."""
    if contest.back:
        way.answer(contest.count)
    else:
        way.receive(contest.count)
        wires.raw.send(b"!")


def send_pipe(raw: socket.socket) -> int:
    """Make what multiprocessing.Pipe() is made of, send one end and return the other."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    socket.send_fds(raw, [b"p"], [theirs.fileno()])
    theirs.close()
    return ours.detach()


def receive_pipe(raw: socket.socket) -> int:
    """Return the end that `send_pipe` sent."""
    return socket.recv_fds(raw, 1, 1)[1][0]
