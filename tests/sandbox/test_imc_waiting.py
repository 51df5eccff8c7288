"""A call that may wait does wait, whatever interrupts it and whatever a co-holder does to the open file.

The other threads of these tests act once the kernel says that the call sleeps.
"""

import errno
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from sandbox.abi import BACKLOG, NONBLOCK
from sandbox.descriptors import ConnectedSocket, Descriptor, SocketAddress
from sandbox.errors import EndOfStream, MalformedMessage
from sandbox.imc import COPIED_MAX, Imc
from tests.kernel import SOCKETS, Background, until, waits_in
from tests.sandbox.connections import Link, fill, service_port
from tests.sandbox.raw import raw, send_connect_message
from tests.sandbox.refusals import raises

INTERRUPTIONS = 3


@contextmanager
def interrupted_until(release: Callable[[], object]) -> Iterator[None]:
    """Interrupt what this thread waits in with a signal, some times over; then `release` it."""
    handled: list[int] = []
    main = threading.get_ident()
    here = os.getpid(), threading.get_native_id()

    def interrupt() -> None:
        for count in range(1, INTERRUPTIONS + 1):
            until(lambda: waits_in(*here, *SOCKETS), "the call sleeps in the kernel")
            signal.pthread_kill(main, signal.SIGUSR1)
            until(lambda: len(handled) == count, "the signal is handled")  # noqa: B023 - called before the next round
        until(lambda: waits_in(*here, *SOCKETS), "the call sleeps again")
        release()

    before = signal.signal(signal.SIGUSR1, lambda number, _: handled.append(number))
    interrupting = Background(interrupt)
    try:
        yield
        interrupting.result()
        assert len(handled) == INTERRUPTIONS
    finally:
        with suppress(BaseException):
            interrupting.result()
        signal.signal(signal.SIGUSR1, before)


def fill_pending(imc: Imc, address: SocketAddress) -> tuple[int, list[ConnectedSocket]]:
    """Let as many connect messages wait as may, good or bad; return their number, and the clients behind them."""
    if imc.protocol == "stream":
        return BACKLOG + 1, [imc.imc_connect(address) for _ in range(BACKLOG + 1)]
    return fill(lambda: send_connect_message(imc.protocol, address, b"bad", flags=socket.MSG_DONTWAIT)), []


@contextmanager
def full(imc: Imc) -> Iterator[tuple[SocketAddress, Callable[[], ConnectedSocket]]]:
    """Yield an address that nobody can connect to at once, and what accepts until the next connection is served."""
    bound, address = imc.imc_makeboundsock()
    pending, clients = fill_pending(imc, address)

    def accept_them_all() -> ConnectedSocket:
        for _ in range(pending):
            with suppress(MalformedMessage):
                imc.imc_accept(bound).close()
        return imc.imc_accept(bound)

    with bound, address:
        yield address, accept_them_all
        for client in clients:
            client.close()


# Signals


def test_a_receive_outlasts_signals(link: Link) -> None:
    with interrupted_until(lambda: link.imc.imc_sendmsg(link.client, b"at last")):
        assert link.imc.imc_recvmsg(link.server).data == b"at last"


def test_a_send_to_a_full_queue_outlasts_signals(link: Link) -> None:
    sent = fill(lambda: link.imc.imc_sendmsg(link.client, b"x", flags=NONBLOCK))

    def drain() -> None:
        for _ in range(sent):
            link.imc.imc_recvmsg(link.server)

    with interrupted_until(drain):
        assert link.imc.imc_sendmsg(link.client, b"at last") == 7
    assert link.imc.imc_recvmsg(link.server).data == b"at last"


@pytest.mark.parametrize("protocol", ["stream", "datagram", "socketpair"], indirect=True)
def test_an_accept_outlasts_signals(imc: Imc) -> None:
    bound, address = imc.imc_makeboundsock()
    clients: list[ConnectedSocket] = []
    with bound, address:
        with interrupted_until(lambda: clients.append(imc.imc_connect(address))):
            server = imc.imc_accept(bound)
        with server, clients[0]:
            imc.imc_sendmsg(clients[0], b"hello")
            assert imc.imc_recvmsg(server).data == b"hello"


def test_a_connect_against_a_full_queue_outlasts_signals(imc: Imc) -> None:
    servers: list[ConnectedSocket] = []
    with full(imc) as (address, accept_them_all):
        with interrupted_until(lambda: servers.append(accept_them_all())):
            client = imc.imc_connect(address)
        with client, servers[0]:
            imc.imc_sendmsg(client, b"hello")
            assert imc.imc_recvmsg(servers[0]).data == b"hello"


# What a co-holder of the open file sets


def set_nonblock(descriptor: Descriptor) -> None:
    os.set_blocking(descriptor.fileno(), False)


def set_timeouts(descriptor: Descriptor) -> None:
    with raw(descriptor) as sock:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 0, 1000))


by_a_co_holder = pytest.mark.parametrize(
    "meddle", [set_nonblock, set_timeouts], ids=["O_NONBLOCK", "SO_RCVTIMEO and SO_SNDTIMEO"]
)
Meddle = Callable[[Descriptor], None]


@by_a_co_holder
def test_a_receive_waits_all_the_same(link: Link, meddle: Meddle) -> None:
    meddle(link.server)
    receiving = Background(lambda: link.imc.imc_recvmsg(link.server))
    receiving.until_it_waits("poll")
    link.imc.imc_sendmsg(link.client, b"at last")
    assert receiving.result().data == b"at last"


@by_a_co_holder
def test_a_receive_that_waits_sees_the_end(link: Link, meddle: Meddle) -> None:
    meddle(link.server)
    receiving = Background(lambda: link.imc.imc_recvmsg(link.server))
    receiving.until_it_waits("poll")
    link.client.close()
    with raises(errno.EIO, EndOfStream):
        receiving.result()


@by_a_co_holder
@pytest.mark.parametrize("size", [COPIED_MAX, COPIED_MAX + 1], ids=["copied", "gathered"])
def test_a_send_to_a_full_queue_waits_all_the_same(link: Link, meddle: Meddle, size: int) -> None:
    meddle(link.client)
    sent = fill(lambda: link.imc.imc_sendmsg(link.client, b"x", flags=NONBLOCK))
    sending = Background(lambda: link.imc.imc_sendmsg(link.client, b"y" * size))
    sending.until_it_waits("poll")
    for _ in range(sent):
        assert link.imc.imc_recvmsg(link.server).data == b"x"
    assert sending.result() == size
    assert link.imc.imc_recvmsg(link.server).data == b"y" * size


@by_a_co_holder
def test_a_send_that_waits_sees_the_peer_die(link: Link, meddle: Meddle) -> None:
    meddle(link.client)
    fill(lambda: link.imc.imc_sendmsg(link.client, b"x", flags=NONBLOCK))
    sending = Background(lambda: link.imc.imc_sendmsg(link.client, b"too late"))
    sending.until_it_waits("poll")
    link.server.close()
    with raises(errno.EIO, EndOfStream):
        sending.result()


@by_a_co_holder
def test_an_accept_waits_all_the_same(imc: Imc, meddle: Meddle) -> None:
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        meddle(bound)
        accepting = Background(lambda: imc.imc_accept(bound))
        accepting.until_it_waits("poll")
        with imc.imc_connect(address) as client, accepting.result() as server:
            imc.imc_sendmsg(client, b"hello")
            assert imc.imc_recvmsg(server).data == b"hello"


@by_a_co_holder
@pytest.mark.parametrize("protocol", ["socketpair", "acknowledged"], indirect=True)
def test_a_connect_over_a_full_address_waits_all_the_same(imc: Imc, meddle: Meddle) -> None:
    with full(imc) as (address, accept_them_all):
        meddle(address)
        connecting = Background(lambda: imc.imc_connect(address))
        connecting.until_it_waits("poll")
        with accept_them_all() as server, connecting.result() as client:
            imc.imc_sendmsg(client, b"hello")
            assert imc.imc_recvmsg(server).data == b"hello"


@by_a_co_holder
def test_a_datagram_to_a_full_queue_is_tried_again_and_again_but_not_in_a_spin(meddle: Meddle) -> None:
    with service_port() as port:
        meddle(port)
        imc = Imc("datagram", global_fd=port)
        with full(imc) as (address, accept_them_all):
            connecting = Background(lambda: imc.imc_connect(address))
            connecting.until_it_waits("nanosleep", "unix_wait")
            started = connecting.cpu_time()
            time.sleep(0.25)  # measures, and wins no race
            assert connecting.cpu_time() - started < 0.1
            connecting.until_it_waits("nanosleep", "unix_wait")
            with accept_them_all() as server, connecting.result() as client:
                imc.imc_sendmsg(client, b"hello")
                assert imc.imc_recvmsg(server).data == b"hello"


def test_waiting_leaves_the_flags_of_the_open_file_alone(link: Link) -> None:
    for blocking in (True, False):
        os.set_blocking(link.server.fileno(), blocking)
        link.imc.imc_sendmsg(link.client, b"x")
        link.imc.imc_recvmsg(link.server)
        with raises(errno.EAGAIN):
            link.imc.imc_recvmsg(link.server, flags=NONBLOCK)
        assert os.get_blocking(link.server.fileno()) is blocking
