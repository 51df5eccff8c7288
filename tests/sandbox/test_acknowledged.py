"""What acknowledged promises: connect returned, therefore it was accepted."""

import errno
import socket
import time
from collections.abc import Iterator

import pytest

from sandbox.abi import ACKNOWLEDGE, CONNECT, NONBLOCK
from sandbox.descriptors import BoundSocket, SocketAddress
from sandbox.errors import EndOfStream, ImcError, MalformedMessage
from sandbox.imc import Imc
from tests.kernel import Background, OpenDescriptors
from tests.sandbox.connections import connect_and_accept, fill
from tests.sandbox.party import in_a_process
from tests.sandbox.raw import fds_of, raw, receive_raw, received_raw, send_raw, seqpacket_pair
from tests.sandbox.refusals import raises

Port = tuple[BoundSocket, SocketAddress]


@pytest.fixture
def protocol() -> str:
    return "acknowledged"


@pytest.fixture
def port(imc: Imc) -> Iterator[Port]:
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        yield bound, address


def test_connect_waits_until_it_was_accepted(imc: Imc, port: Port) -> None:
    bound, address = port
    connecting = Background(lambda: imc.imc_connect(address))
    connecting.until_it_waits("poll")
    with imc.imc_accept(bound) as server, connecting.result() as client:
        imc.imc_sendmsg(client, b"hello")
        assert imc.imc_recvmsg(server).data == b"hello"
        with raises(errno.EAGAIN):  # the acknowledgement is no message
            imc.imc_recvmsg(client, flags=NONBLOCK)


def test_the_acceptor_answers_with_one_byte_before_it_hands_the_connection_out(imc: Imc, port: Port) -> None:
    bound, address = port
    ours, theirs = seqpacket_pair()
    with ours, raw(address) as sock:
        with theirs:
            send_raw(sock, CONNECT, [theirs.fileno()])
        with imc.imc_accept(bound), received_raw(ours) as packet:
            assert packet == (ACKNOWLEDGE, [])


def test_a_server_that_never_accepts_is_etimedout_within_the_deadline(port: Port) -> None:
    before = OpenDescriptors()
    started = time.monotonic()
    with raises(errno.ETIMEDOUT):
        Imc("acknowledged", connect_deadline=0.05).imc_connect(port[1])
    assert 0.04 < time.monotonic() - started < 3
    assert before.only()


def test_an_address_whose_queue_is_full_is_etimedout_too(port: Port) -> None:
    with raw(port[1]) as sock:
        fill(lambda: send_raw(sock, b"x", flags=socket.MSG_DONTWAIT))
    with raises(errno.ETIMEDOUT):
        Imc("acknowledged", connect_deadline=0.05).imc_connect(port[1])


def test_a_deadline_of_nothing_fails_at_once_and_does_not_wait_for_ever(port: Port) -> None:
    for deadline in (0, -1):
        with raises(errno.ETIMEDOUT):
            Imc("acknowledged", connect_deadline=deadline).imc_connect(port[1])


def test_without_a_deadline_it_waits_for_its_server(port: Port) -> None:
    bound, address = port
    imc = Imc("acknowledged", connect_deadline=None)
    link = connect_and_accept(imc, bound, address)
    with link.client, link.server:
        imc.imc_sendmsg(link.client, b"hello")
        assert imc.imc_recvmsg(link.server).data == b"hello"


def test_a_server_that_dies_while_the_client_waits_is_eio(imc: Imc, port: Port) -> None:
    bound, address = port
    connecting = Background(lambda: imc.imc_connect(address))
    connecting.until_it_waits("poll")
    bound.close()
    with raises(errno.EIO):
        connecting.result()


def test_a_server_that_is_killed_while_the_client_waits_is_eio(imc: Imc, port: Port, protocol: str) -> None:
    with in_a_process(protocol) as server:
        server.give("address", port[1])
        server.tell("connect", address="address", name="connection")
        with imc.imc_accept(port[0]) as connection:
            server.answer()
            server.ask("makeboundsock", name="port")
            server.ask("send", connection="connection", data="", descriptors=["port's address"])
            [address] = imc.imc_recvmsg(connection).descriptors
        assert isinstance(address, SocketAddress)
        with address:
            connecting = Background(lambda: imc.imc_connect(address))
            connecting.until_it_waits("poll")
            server.kill()
            with raises(errno.EIO):
                connecting.result()


def test_a_server_that_closes_the_connection_instead_is_eio(imc: Imc, port: Port) -> None:
    bound, address = port
    connecting = Background(lambda: imc.imc_connect(address))
    with raw(bound) as sock, received_raw(sock):
        pass
    with raises(errno.EIO):
        connecting.result()


def test_a_client_that_gave_up_is_passed_over(port: Port) -> None:
    bound, address = port
    imc = Imc("acknowledged", connect_deadline=0.01)
    for _ in range(3):
        with raises(errno.ETIMEDOUT):
            imc.imc_connect(address)
    patient = Imc("acknowledged")
    link = connect_and_accept(patient, bound, address)
    with link.client, link.server:
        patient.imc_sendmsg(link.client, b"hello")
        assert patient.imc_recvmsg(link.server).data == b"hello"


def test_when_the_last_client_gave_up_accept_goes_on_to_the_end(port: Port) -> None:
    bound, address = port
    imc = Imc("acknowledged", connect_deadline=0.01)
    before = OpenDescriptors()
    with raises(errno.ETIMEDOUT):
        imc.imc_connect(address)
    assert before.only()
    address.close()
    with raises(errno.EIO, EndOfStream):
        imc.imc_accept(bound)
    assert before.only()


def test_a_client_whose_queue_is_full_does_not_hold_up_the_others(imc: Imc, port: Port) -> None:
    bound, address = port
    ours, theirs = seqpacket_pair()
    with ours, raw(address) as sock:
        with theirs:
            fill(lambda: send_raw(theirs, b"x", flags=socket.MSG_DONTWAIT))
            send_raw(sock, CONNECT, [theirs.fileno()])
        accepting = Background(lambda: imc.imc_accept(bound))
        accepting.until_it_waits()
        with pytest.raises(BrokenPipeError):
            ours.send(b"passed over, and told so")
        with imc.imc_connect(address) as client, accepting.result() as server:
            imc.imc_sendmsg(client, b"hello")
            assert imc.imc_recvmsg(server).data == b"hello"


def taken(bound: BoundSocket) -> socket.socket:
    """Take the next connection as a server does that then says what it likes."""
    with raw(bound) as sock:
        packet = receive_raw(sock)
    assert packet.data == CONNECT
    [fd] = packet.fds
    return socket.socket(fileno=fd)


def test_a_server_that_takes_the_connection_and_closes_its_port_without_a_word_is_eio(imc: Imc, port: Port) -> None:
    bound, address = port
    connecting = Background(lambda: imc.imc_connect(address))
    with taken(bound):
        bound.close()
        with raises(errno.EIO):
            connecting.result()


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [(b"b", []), (b"aa", []), (b"a", ["file"]), (b"a" * 1000, ["pipe", "file"]), (b"b", ["seqpacket pair"])],
)
def test_any_other_answer_is_malformed_and_costs_no_descriptors(
    imc: Imc, port: Port, answer: bytes, kinds: list[str]
) -> None:
    bound, address = port
    before = OpenDescriptors()
    connecting = Background(lambda: imc.imc_connect(address))
    with taken(bound) as connection, fds_of(*kinds) as fds:
        send_raw(connection, answer, fds)
        with raises(errno.EIO, MalformedMessage):
            connecting.result()
    assert before.only()


@pytest.mark.parametrize("kinds", [[], ["file"]], ids=["alone", "with a fd"])
def test_an_answer_of_no_bytes_is_eio(imc: Imc, port: Port, kinds: list[str]) -> None:
    bound, address = port
    before = OpenDescriptors()
    connecting = Background(lambda: imc.imc_connect(address))
    with taken(bound) as connection, fds_of(*kinds) as fds:
        send_raw(connection, b"", fds)
        with pytest.raises(ImcError) as caught:
            connecting.result()
    assert caught.value.errno == errno.EIO
    assert before.only()


def test_an_acknowledgement_counts_though_its_server_died_right_after(imc: Imc, port: Port) -> None:
    bound, address = port
    connecting = Background(lambda: imc.imc_connect(address))
    connecting.until_it_waits("poll")
    imc.imc_accept(bound).close()
    bound.close()
    with connecting.result() as client, raises(errno.EIO, EndOfStream):
        imc.imc_recvmsg(client)
