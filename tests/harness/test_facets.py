"""Facets on an event loop of their own, without workers: what is passed on, what is refused, who waits, what ends."""

import asyncio
import errno
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from harness.facets import IN_FLIGHT_SECONDS, Facet, Forwarder, Hangups
from harness.quotas import CONNECTIONS_A_TURN
from harness.undertaker import Undertaker
from sandbox.descriptors import ConnectedSocket, SocketAddress
from sandbox.errors import EndOfStream, ImcError
from sandbox.imc import Imc
from sandbox.protocols import abstract_name, token_of_address
from tests import user
from tests.kernel import OpenDescriptors

pytestmark = pytest.mark.usefixtures("deadline")

# Those that have connect messages; acknowledged is socketpair to a forwarder, but that connecting waits for the server.
PROTOCOLS: Final = ("datagram", "socketpair")
CONNECT: Final = {"datagram": b"", "socketpair": b"c"}


class Server:
    """A server of this process, facets that lead to it, and the loop that serves them."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        plain = Imc(protocol)
        self.own, own_address = plain.imc_makeboundsock()
        own_address.close()
        self.imc = Imc(protocol, global_fd=self.own)
        self.bound, self.address = self.imc.imc_makeboundsock()
        self.hangups = Hangups()
        self.ours: set[str] = set()
        self.refusals: list[tuple[str, str]] = []
        self.patience = 1000
        self.lost: list[str] = []
        address = SocketAddress(os.dup(self.address.fileno()))
        self.undertaker = Undertaker()
        self.forwarder = Forwarder(
            protocol, address, self.hangups, self.undertaker, self.ours, self._refused, self.lost.append
        )

    def _refused(self, facet: Facet, sender: int, text: str) -> bool:
        assert sender == os.getpid()
        self.refusals.append((facet.importer, text))
        return len(self.refusals) > self.patience

    def close(self) -> None:
        self.forwarder.close()
        self.hangups.close()
        self.undertaker.close()
        for descriptor in (self.bound, self.address, self.own):
            descriptor.close()

    async def connect(self, facet: SocketAddress) -> ConnectedSocket:
        return await asyncio.to_thread(self.imc.imc_connect, facet)

    async def accept(self) -> ConnectedSocket:
        return await asyncio.to_thread(self.imc.imc_accept, self.bound)


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def on_loop(protocol: str, check: Callable[[Server], Awaitable[None]]) -> None:
    """Run `check` on an event loop, with a server whose descriptors are gone afterwards."""

    async def run() -> None:
        server = Server(protocol)
        try:
            await check(server)
        finally:
            server.close()
            # Threads that wait for the server in vain learn that it is gone.
            assert server.ours == set()

    asyncio.run(run())


def send_raw(server: Server, facet: SocketAddress, data: bytes, fds: list[int]) -> None:
    """Send a connect message of any shape."""
    if server.protocol == "datagram":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds))]
            sock.sendmsg([data], rights if fds else [], 0, abstract_name(token_of_address(facet)))
    else:
        with socket.socket(fileno=os.dup(facet.fileno())) as sock:
            socket.send_fds(sock, [data], fds) if fds else sock.send(data)


async def turns(count: int = 5) -> None:
    """Let the loop take up what is there."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_connection_is_passed_on_and_is_nobody_s_business_afterwards(
    protocol: str, open_descriptors: OpenDescriptors
) -> None:
    async def check(server: Server) -> None:
        with server.forwarder.mint("importer", "server") as facet:
            before = OpenDescriptors()
            client = await server.connect(facet)
            accepted = await server.accept()
            with client, accepted:
                server.imc.imc_sendmsg(client, b"hello")
                assert server.imc.imc_recvmsg(accepted).data == b"hello"
                server.undertaker.close()
                assert before.only(client, accepted)
        assert server.refusals == []

    on_loop(protocol, check)
    assert open_descriptors.only()


def a_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def a_listener() -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind("")
        sock.listen()
        return sock.detach()


def an_epoll() -> int:
    with select.epoll() as epoll:
        return os.dup(epoll.fileno())


def an_end(kind: socket.SocketKind) -> int:
    left, right = socket.socketpair(socket.AF_UNIX, kind)
    right.close()
    return left.detach()


BAD_CONNECTIONS: Final[dict[str, Callable[[], list[int]]]] = {
    "none": list,
    "two": lambda: [an_end(socket.SOCK_SEQPACKET), an_end(socket.SOCK_SEQPACKET)],
    "a file": lambda: [a_file()],
    "a pipe": lambda: [os.pipe()[0]],
    "an epoll": lambda: [an_epoll()],
    "a listening socket": lambda: [a_listener()],
    "a stream": lambda: [an_end(socket.SOCK_STREAM)],
    "a datagram socket": lambda: [an_end(socket.SOCK_DGRAM)],
    "an internet socket": lambda: [socket.socket(socket.AF_INET, socket.SOCK_STREAM).detach()],
    "a directory": lambda: [os.open("/", os.O_RDONLY)],
}


@pytest.mark.parametrize("bad", BAD_CONNECTIONS)
def test_what_is_no_connection_is_refused_and_closed_and_the_next_one_passes(
    bad: str, protocol: str, open_descriptors: OpenDescriptors
) -> None:
    async def check(server: Server) -> None:
        with server.forwarder.mint("importer", "server") as facet:
            before = OpenDescriptors()
            fds = BAD_CONNECTIONS[bad]()
            # A pipe has another end.
            others = [fd for fd in before.new() if fd not in fds]
            send_raw(server, facet, CONNECT[protocol], fds)
            for fd in (*fds, *others):
                os.close(fd)
            await turns()
            assert [importer for importer, _ in server.refusals] == ["importer"]
            server.undertaker.close()
            assert before.only()
            with await server.connect(facet), await server.accept():
                pass

    on_loop(protocol, check)
    assert open_descriptors.only()


@pytest.mark.parametrize("data", [b"x", b"cc", b"c", b""])
def test_what_is_no_connect_message_is_refused(data: bytes, protocol: str) -> None:
    async def check(server: Server) -> None:
        fd = an_end(socket.SOCK_SEQPACKET)
        with server.forwarder.mint("importer", "server") as facet:
            send_raw(server, facet, data, [fd])
            os.close(fd)
            await turns()
        refused = data != CONNECT[protocol]
        assert bool(server.refusals) == refused

    on_loop(protocol, check)


def test_a_facet_over_which_one_too_many_was_refused_is_shut_and_no_other(protocol: str) -> None:
    async def check(server: Server) -> None:
        server.patience = 3
        with server.forwarder.mint("bad", "server") as bad, server.forwarder.mint("good", "server") as good:
            for _ in range(3):
                send_raw(server, bad, b"junk", [])
            await turns()
            with await server.connect(bad), await server.accept():
                pass
            for _ in range(5):
                send_raw(server, bad, b"junk", [])
            await turns()
            assert server.refusals == [("bad", f"a connect message that is not exactly {CONNECT[protocol]!r}")] * 4
            with pytest.raises(ImcError):
                await server.connect(bad)
            with await server.connect(good), await server.accept():
                pass

    on_loop(protocol, check)


def test_a_way_on_which_room_can_no_longer_be_watched_for_is_closed_and_told(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    async def check(server: Server) -> None:
        with server.forwarder.mint("importer", "server") as facet, ExitStack() as held:
            monkeypatch.setattr(asyncio.get_running_loop(), "add_writer", refuse)
            while not server.lost:
                for client in fill(server, facet):
                    held.callback(client.close)
                await turns()
            assert server.lost == ["it cannot be watched: Invalid argument"]
            with pytest.raises(ImcError):
                await server.connect(facet)

    on_loop(protocol, check)


def test_our_own_sockets_are_no_connections(protocol: str) -> None:
    async def check(server: Server) -> None:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with left, right, server.forwarder.mint("importer", "server") as facet:
            server.ours.add(f"socket:[{os.fstat(left.fileno()).st_ino}]")
            send_raw(server, facet, CONNECT[protocol], [left.fileno()])
            if protocol == "socketpair":
                send_raw(server, facet, CONNECT[protocol], [facet.fileno()])
            await turns()
            assert len(server.refusals) == (2 if protocol == "socketpair" else 1)
            assert {text for _, text in server.refusals} == {"a connection that is one of the receiver's own sockets"}
            server.ours.discard(f"socket:[{os.fstat(left.fileno()).st_ino}]")

    on_loop(protocol, check)


def fill(server: Server, facet: SocketAddress) -> list[ConnectedSocket]:
    """Connect as often as the facet's queue takes without waiting."""
    clients: list[ConnectedSocket] = []
    while True:
        fd = an_end_kept(clients)
        try:
            send_nonblocking(server, facet, fd)
        except BlockingIOError:
            clients.pop().close()
            return clients
        finally:
            os.close(fd)


def an_end_kept(clients: list[ConnectedSocket]) -> int:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    clients.append(ConnectedSocket(right.detach()))
    return left.detach()


def send_nonblocking(server: Server, facet: SocketAddress, fd: int) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fd.to_bytes(4, sys.byteorder))]
    if server.protocol == "datagram":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendmsg([b""], rights, socket.MSG_DONTWAIT, abstract_name(token_of_address(facet)))
    else:
        with socket.socket(fileno=os.dup(facet.fileno())) as sock:
            sock.sendmsg([b"c"], rights, socket.MSG_DONTWAIT)


def test_while_the_server_is_full_facets_are_not_read_and_then_nobody_is_lost(
    protocol: str, open_descriptors: OpenDescriptors
) -> None:
    async def check(server: Server) -> None:
        with (
            server.forwarder.mint("one", "server") as one,
            server.forwarder.mint("two", "server") as two,
            ExitStack() as held,
        ):
            total = 0
            # Until neither the server's queue nor a facet's takes any more.
            while more := [*fill(server, one), *fill(server, two)]:
                total += len(more)
                for client in more:
                    held.callback(client.close)
                await turns(50)
            before = OpenDescriptors()
            await turns(50)
            # One connection a facet is held back, and no more.
            assert [facet.held is not None for facet in server.forwarder._facets] == [True, True]
            accepted = 0
            while accepted < total:
                (await server.accept()).close()
                accepted += 1
            await turns(50)
            assert not server.forwarder._stalled
            assert [facet.held for facet in server.forwarder._facets] == [None, None]
            with await server.connect(two), await server.accept():
                pass
            server.undertaker.close()
            assert before.new() == {}

    on_loop(protocol, check)
    assert open_descriptors.only()


def test_a_flood_leaves_the_loop_its_turns() -> None:
    async def check(server: Server) -> None:
        with server.forwarder.mint("importer", "server") as facet, ExitStack() as held:
            for client in fill(server, facet):
                held.callback(client.close)
            taken: list[int] = []
            take = server.forwarder._forward

            def counted(*args: Any) -> bool:
                taken.append(1)
                return take(*args)

            server.forwarder._forward = counted  # type: ignore[method-assign, assignment]
            await turns(1)
            await turns(1)
            assert 0 < len(taken) <= 2 * CONNECTIONS_A_TURN

    on_loop("socketpair", check)


def test_connections_of_one_importer_keep_their_order(protocol: str) -> None:
    async def check(server: Server) -> None:
        with server.forwarder.mint("importer", "server") as facet, ExitStack() as held:
            for number in range(8):
                client = held.enter_context(await server.connect(facet))
                server.imc.imc_sendmsg(client, b"%d" % number)
            for number in range(8):
                with await server.accept() as accepted:
                    assert server.imc.imc_recvmsg(accepted).data == b"%d" % number

    on_loop(protocol, check)


def test_when_the_last_facet_is_gone_the_server_s_accept_ends() -> None:
    async def check(server: Server) -> None:
        one, two = server.forwarder.mint("one", "server"), server.forwarder.mint("two", "server")
        server.address.close()
        one.close()
        await turns()
        with await server.connect(two), await server.accept():
            pass
        two.close()
        await turns()
        with pytest.raises(EndOfStream):
            await server.accept()

    on_loop("socketpair", check)


def test_the_end_of_the_facets_does_not_shut_the_server_s_own_address() -> None:
    async def check(server: Server) -> None:
        server.forwarder.mint("one", "server").close()
        await turns()
        with await server.connect(server.address), await server.accept():
            pass

    on_loop("socketpair", check)


def test_when_the_server_is_gone_so_are_its_facets(protocol: str) -> None:
    async def check(server: Server) -> None:
        with server.forwarder.mint("importer", "server") as facet:
            server.bound.close()
            if protocol == "datagram":
                # A name does not tell: the first that asks for it learns it.
                (await server.connect(facet)).close()
            await turns(20)
            with pytest.raises(ImcError):
                await server.connect(facet)

    on_loop(protocol, check)


def test_a_holder_that_shuts_its_facet_down_hurts_itself_alone() -> None:
    async def check(server: Server) -> None:
        with server.forwarder.mint("bad", "server") as bad, server.forwarder.mint("good", "server") as good:
            with socket.socket(fileno=os.dup(bad.fileno())) as sock:
                sock.shutdown(socket.SHUT_RDWR)
            await turns()
            with pytest.raises(ImcError):
                await server.connect(bad)
            with await server.connect(good), await server.accept():
                pass

    on_loop("socketpair", check)


def test_what_a_server_sends_back_over_its_port_is_left_alone(open_descriptors: OpenDescriptors) -> None:
    async def check(server: Server) -> None:
        with server.forwarder.mint("importer", "server") as facet:
            fd = a_file()
            for _ in range(20):
                socket.send_fds(server.bound.socket, [b"junk"], [fd])  # type: ignore[arg-type]
            os.close(fd)
            await turns()
            with await server.connect(facet), await server.accept():
                pass

    on_loop("socketpair", check)
    assert open_descriptors.only()


def test_a_forwarder_can_be_led_elsewhere(protocol: str) -> None:
    async def check(server: Server) -> None:
        bound, address = server.imc.imc_makeboundsock()
        with bound, server.forwarder.mint("importer", "server") as facet:
            server.forwarder.retarget(address)
            with await server.connect(facet), await asyncio.to_thread(server.imc.imc_accept, bound):
                pass

    on_loop(protocol, check)


IN_FLIGHT: Final = """
import asyncio, resource
from tests.harness.test_facets import Server, fill, turns

async def main():
    server = Server("socketpair")
    # What is in flight counts against the sender's limit of open files.
    used = 40
    with server.forwarder.mint("importer", "server") as facet:
        clients = fill(server, facet)
        limit = max(c.fileno() for c in clients) + 60
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit))
        await turns(5)
        stalled = len(server.forwarder._stalled)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        for _ in clients:
            (await server.accept()).close()
        print(stalled, len(clients))
    server.close()

asyncio.run(main())
"""


def test_however_many_facets_wait_for_descriptors_in_flight_one_timer_looks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def check(server: Server) -> None:
        refusals: list[int] = []

        def refuse(*_: object, **__: object) -> int:
            refusals.append(1)
            raise OSError(errno.ETOOMANYREFS, "too many")

        with ExitStack() as held:
            facets = [held.enter_context(server.forwarder.mint(f"importer {n}", "server")) for n in range(4)]
            monkeypatch.setattr("harness.facets.send_packet", refuse)
            for facet in facets:
                held.enter_context(await server.connect(facet))
            for _ in range(10):
                await asyncio.sleep(IN_FLIGHT_SECONDS)
            # Each of the four is tried at first, and again each time that the timer ends.
            assert len(refusals) <= 4 * (1 + 11)
            assert len(server.forwarder._stalled) == 4
            monkeypatch.undo()
            for _ in facets:
                (await server.accept()).close()

    on_loop("socketpair", check)


def test_too_many_descriptors_in_flight_are_waited_out() -> None:
    """An ordinary user's descriptors in flight are limited; root's are not."""
    if (why_not := user.why_not()) is not None:
        pytest.skip(why_not)
    root = Path(__file__).parents[2]
    command = [*user.as_user(), sys.executable, "-c", IN_FLIGHT]
    done = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    stalled, clients = map(int, done.stdout.split())
    assert stalled == 1
    assert clients > 64


@pytest.fixture(autouse=True)
def nothing_left(open_descriptors: OpenDescriptors) -> Iterator[None]:
    yield
    assert open_descriptors.only()
