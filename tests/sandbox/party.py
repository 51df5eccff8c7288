"""A second party, in a thread of this process or in a process of its own, that does as it is told.

Orders and answers are JSON in single packets; addresses go along by SCM_RIGHTS, as a supervisor would hand them out.
"""

import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sandbox.descriptors import Descriptor, SocketAddress
from sandbox.errors import EndOfStream, ImcError, MalformedMessage
from sandbox.imc import Imc
from tests.children import fork
from tests.kernel import SOCKETS, Background, until, waits_in
from tests.sandbox.connections import service_port

ANSWER_MAX: Final = 1 << 16
ERRORS: Final = {kind.__name__: kind for kind in (EndOfStream, MalformedMessage)}


class Obedience:
    """What a party has: its own Imc, and the descriptors that it holds, by the names that it was told."""

    def __init__(self, imc: Imc) -> None:
        self._imc = imc
        self._held: dict[str, Any] = {}

    def makeboundsock(self, name: str) -> None:
        self._held[name], self._held[f"{name}'s address"] = self._imc.imc_makeboundsock()

    def connect(self, address: str, name: str) -> None:
        self._held[name] = self._imc.imc_connect(self._held[address])

    def accept(self, bound: str, name: str) -> None:
        self._held[name] = self._imc.imc_accept(self._held[bound])

    def send(self, connection: str, data: str, descriptors: Sequence[str] = ()) -> int:
        return self._imc.imc_sendmsg(
            self._held[connection], data.encode(), [self._held[descriptor] for descriptor in descriptors]
        )

    def receive(self, connection: str, names: Sequence[str] = ()) -> str:
        message = self._imc.imc_recvmsg(self._held[connection])
        self._held |= dict(zip(names, message.descriptors, strict=True))
        return message.data.decode()

    def close(self, name: str) -> None:
        self._held.pop(name).close()

    def hold(self, name: str, descriptor: Descriptor) -> None:
        self._held[name] = descriptor

    def release(self) -> None:
        for descriptor in self._held.values():
            descriptor.close()


def obey(orders: socket.socket, protocol: str) -> None:
    """Carry out orders until there are no more."""
    with orders, service_port() as port:
        obedience = Obedience(Imc(protocol, global_fd=port))
        while True:
            order, fds, _, _ = socket.recv_fds(orders, ANSWER_MAX, 1)
            if not order:
                obedience.release()
                return
            what, keys = json.loads(order)
            if fds:
                obedience.hold(keys["name"], SocketAddress(fds[0]))
                orders.send(b"[null, null, null]")
                continue
            try:
                answer = [getattr(obedience, what)(**keys), None, None]
            except ImcError as error:
                answer = [None, type(error).__name__, error.errno]
            orders.send(json.dumps(answer).encode())


class Party:
    """The one that gives the orders. `tell` does not wait for the answer, `ask` does."""

    def __init__(self, orders: socket.socket, pid: int, thread: int) -> None:
        self._orders = orders
        self.pid = pid
        self._thread = thread

    def tell(self, what: str, **keys: Any) -> None:
        self._orders.send(json.dumps([what, keys]).encode())

    def answer(self) -> Any:
        """Return the result of the oldest order that was not answered yet, or raise its ImcError."""
        result, kind, number = json.loads(self._orders.recv(ANSWER_MAX))
        if kind is None:
            return result
        raise ERRORS[kind]("at the party") if kind in ERRORS else ImcError(number, "at the party")

    def ask(self, what: str, **keys: Any) -> Any:
        self.tell(what, **keys)
        return self.answer()

    def give(self, name: str, address: SocketAddress) -> None:
        """Let the party hold a duplicate of `address`."""
        socket.send_fds(self._orders, [json.dumps(["hold", {"name": name}]).encode()], [address.fileno()])
        self.answer()

    def kill(self) -> None:
        """Kill the party's process, and return once all that it had open is closed."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def until_it_waits(self) -> None:
        """Return once the party sleeps in the kernel, over its last order or waiting for the next."""
        until(lambda: waits_in(self.pid, self._thread, *SOCKETS), "the party sleeps")


@contextmanager
def in_a_thread(protocol: str) -> Iterator[Party]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    obeying = Background(lambda: obey(theirs, protocol))
    with ours:
        yield Party(ours, os.getpid(), obeying.native_id())
    obeying.result()


@contextmanager
def in_a_process(protocol: str) -> Iterator[Party]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = fork()
    if pid == 0:
        try:
            orders = socket.socket(fileno=os.dup2(theirs.fileno(), 3))
            os.closerange(4, os.sysconf("SC_OPEN_MAX"))
            obey(orders, protocol)
        finally:
            os._exit(0)
    theirs.close()
    try:
        with ours:
            yield Party(ours, pid, pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


PLACES: Final = {"in a thread": in_a_thread, "in a process": in_a_process}
