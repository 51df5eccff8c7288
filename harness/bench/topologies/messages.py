"""Two workers that move messages, each in its turn: ours, raw ones, multiprocessing's; and how long each way takes.

Both have the same CONTESTS and take the same turns, so neither has to tell the other what comes next. The peers run in
the same two processes, under the same confinement: what differs is what stands between the program and the kernel.
"""

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, Final

from sandbox.descriptors import ConnectedSocket
from sandbox.imc import Message
from sandbox.worker import Worker


@dataclass(frozen=True)
class Way:
    """How a message is sent and received: what is called, with what, and what is done with what came."""

    send: Callable[..., object]
    sent: tuple[Any, ...]
    receive: Callable[..., Any]
    wanted: tuple[Any, ...] = ()
    drop: Callable[[Any], object] | None = None


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

    def ours(self, size: int) -> Way:
        """Use IMC messages."""
        return Way(self.imc.imc_sendmsg, (self.connection, bytes(size)), self.imc.imc_recvmsg, (self.connection,))

    def plain(self, size: int) -> Way:
        """Use nothing but the two system calls."""
        return Way(self.raw.sendmsg, ([bytes(size)],), self.raw.recvmsg, (size,))

    def piped(self, size: int) -> Way:
        """Use what multiprocessing.Pipe() returns."""
        return Way(self.pipe.send_bytes, (bytes(size),), self.pipe.recv_bytes)

    def our_address(self, _: int) -> Way:
        """Use an IMC message that carries a SocketAddress, which the receiver closes."""
        sent = (self.connection, b"", (self.address,))
        return Way(self.imc.imc_sendmsg, sent, self.imc.imc_recvmsg, (self.connection,), close_carried)

    def handle(self, _: int) -> Way:
        """Use multiprocessing.reduction."""
        return Way(send_handle, (self.pipe, self.address.fileno(), 0), recv_handle, (self.pipe,), os.close)

    def fds(self, _: int) -> Way:
        """Use socket.send_fds."""
        sent = (self.raw, [b"c"], [self.address.fileno()])
        return Way(socket.send_fds, sent, socket.recv_fds, (self.raw, 1, 1), lambda came: os.close(came[1][0]))


def close_carried(message: Message) -> None:
    """Close the one descriptor of a message."""
    message.descriptors[0].close()


@dataclass(frozen=True)
class Contest:
    """So many messages of `size` bytes, there and `back` or there alone, in each of the ways in turn."""

    name: str
    back: bool
    size: int
    count: int
    ways: tuple[Callable[[Wires, int], Way], ...]


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


def ask(contest: Contest, way: Way, wires: Wires) -> None:
    """Send all messages, each after the answer to the one before, or one after the other until all have come."""
    send, sent, receive, wanted = way.send, way.sent, way.receive, way.wanted
    if contest.back:
        for _ in range(contest.count):
            send(*sent)
            receive(*wanted)
    else:
        for _ in range(contest.count):
            send(*sent)
        wires.raw.recv(1)


def answer(contest: Contest, way: Way, wires: Wires) -> None:
    """Receive all messages, and answer each or the last."""
    send, sent, receive, wanted, drop = way.send, way.sent, way.receive, way.wanted, way.drop
    if contest.back:
        for _ in range(contest.count):
            receive(*wanted)
            send(*sent)
    else:
        if drop is None:
            for _ in range(contest.count):
                receive(*wanted)
        else:
            for _ in range(contest.count):
                drop(receive(*wanted))
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
