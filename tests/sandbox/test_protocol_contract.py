"""What every protocol promises, whether both ends are in one process or in two."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sandbox.abi import CONNECT
from sandbox.descriptors import BoundSocket, ConnectedSocket, SocketAddress
from sandbox.errors import EndOfStream, MalformedMessage
from sandbox.imc import Imc
from sandbox.protocols import PROTOCOLS, AddressForm
from tests.kernel import OpenDescriptors
from tests.sandbox.connections import connect_and_accept
from tests.sandbox.party import PLACES, Party, in_a_process
from tests.sandbox.raw import FD_KINDS, fds_of, send_connect_message
from tests.sandbox.refusals import raises

BY_DESCRIPTOR = [name for name, kind in PROTOCOLS.items() if kind.address_form is AddressForm.DESCRIPTOR]
BEFORE_ACCEPT = [name for name in PROTOCOLS if name != "acknowledged"]
# stream alone has no connect message: its connections are the kernel's.
BY_MESSAGE = [name for name in PROTOCOLS if name != "stream"]

descriptor_protocols = pytest.mark.parametrize("protocol", BY_DESCRIPTOR, indirect=True)
connects_before_accept = pytest.mark.parametrize("protocol", BEFORE_ACCEPT, indirect=True)
message_protocols = pytest.mark.parametrize("protocol", BY_MESSAGE, indirect=True)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    where: str = request.param
    return where


@pytest.fixture
def party(protocol: str, place: str) -> Iterator[Party]:
    with PLACES[place](protocol) as made:
        yield made


@pytest.fixture
def port(imc: Imc) -> Iterator[tuple[BoundSocket, SocketAddress]]:
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        yield bound, address


def accept_from(party: Party, imc: Imc, port: tuple[BoundSocket, SocketAddress]) -> ConnectedSocket:
    """Give the party the address, let it connect, and return the other end of its `connection`."""
    bound, address = port
    party.give("address", address)
    party.tell("connect", address="address", name="connection")
    server = imc.imc_accept(bound)
    party.answer()
    return server


Port = tuple[BoundSocket, SocketAddress]


def test_data_goes_both_ways_in_order(party: Party, imc: Imc, port: Port) -> None:
    with accept_from(party, imc, port) as server:
        for number in range(20):
            party.ask("send", connection="connection", data=f"to the server {number}")
            imc.imc_sendmsg(server, f"to the client {number}".encode())
        for number in range(20):
            assert imc.imc_recvmsg(server).data == f"to the server {number}".encode()
            assert party.ask("receive", connection="connection") == f"to the client {number}"


def test_the_party_can_be_the_server(party: Party, imc: Imc, port: Port) -> None:
    with accept_from(party, imc, port) as server:
        party.ask("makeboundsock", name="port")
        party.ask("send", connection="connection", data="mine", descriptors=["port's address"])
        data, [address], _ = imc.imc_recvmsg(server)
        assert data == b"mine"
        assert isinstance(address, SocketAddress)
        party.tell("accept", bound="port", name="accepted")
        with address, imc.imc_connect(address) as client:
            party.answer()
            imc.imc_sendmsg(client, b"hello")
            assert party.ask("receive", connection="accepted") == "hello"


@connects_before_accept
def test_connect_returns_before_anybody_accepts(party: Party, imc: Imc, port: Port) -> None:
    bound, address = port
    party.give("address", address)
    party.ask("connect", address="address", name="connection")
    party.ask("send", connection="connection", data="already")
    with imc.imc_accept(bound) as server:
        assert imc.imc_recvmsg(server).data == b"already"


def test_pending_connections_are_accepted_in_the_order_that_they_were_made(
    imc: Imc, port: Port, protocol: str, place: str
) -> None:
    bound, address = port
    with ExitStack() as stack:
        parties = [stack.enter_context(PLACES[place](protocol)) for _ in range(3)]
        for party in parties:
            party.give("address", address)
            party.tell("connect", address="address", name="connection")
            party.until_it_waits()
        servers = [stack.enter_context(imc.imc_accept(bound)) for _ in parties]
        for number, (party, server) in enumerate(zip(parties, servers, strict=True)):
            party.answer()
            party.ask("send", connection="connection", data=str(number))
            assert imc.imc_recvmsg(server).data == str(number).encode()


def test_each_connection_is_its_own(party: Party, imc: Imc, port: Port) -> None:
    with accept_from(party, imc, port) as first:
        party.tell("connect", address="address", name="second")
        with imc.imc_accept(port[0]) as second:
            party.answer()
            party.ask("send", connection="second", data="second")
            party.ask("send", connection="connection", data="first")
            party.ask("close", name="second")
            assert imc.imc_recvmsg(first).data == b"first"
            assert imc.imc_recvmsg(second).data == b"second"
            with raises(errno.EIO, EndOfStream):
                imc.imc_recvmsg(second)
            imc.imc_sendmsg(first, b"still here")
            assert party.ask("receive", connection="connection") == "still here"


def test_an_address_that_came_in_a_message_can_be_connected_to(party: Party, imc: Imc, port: Port) -> None:
    bound, address = imc.imc_makeboundsock()
    with bound, accept_from(party, imc, port) as server:
        with address:
            imc.imc_sendmsg(server, b"meet carol", (address,))
        assert party.ask("receive", connection="connection", names=["carol"]) == "meet carol"
        party.tell("connect", address="carol", name="to carol")
        with imc.imc_accept(bound) as carol:
            party.answer()
            party.ask("send", connection="to carol", data="hi")
            assert imc.imc_recvmsg(carol).data == b"hi"


def test_an_address_can_be_used_again_and_again(party: Party, imc: Imc, port: Port) -> None:
    for _ in range(10):
        with accept_from(party, imc, port) as server:
            party.ask("send", connection="connection", data="hello")
            assert imc.imc_recvmsg(server).data == b"hello"
            party.ask("close", name="connection")
            party.ask("close", name="address")


def test_a_connection_outlives_the_port_that_it_was_made_by(party: Party, imc: Imc, port: Port) -> None:
    bound, address = port
    with accept_from(party, imc, port) as server:
        bound.close()
        address.close()
        party.ask("close", name="address")
        party.ask("send", connection="connection", data="hello")
        assert imc.imc_recvmsg(server).data == b"hello"


def test_connecting_to_a_dead_server_is_eio(party: Party, port: Port) -> None:
    bound, address = port
    party.give("address", address)
    bound.close()
    for _ in range(2):
        with raises(errno.EIO):
            party.ask("connect", address="address", name="connection")


@descriptor_protocols
def test_accept_ends_when_every_address_is_closed(party: Party, imc: Imc, port: Port) -> None:
    bound, address = port
    party.give("address", address)
    party.give("another", address)
    address.close()
    party.ask("close", name="address")
    party.tell("connect", address="another", name="connection")
    with imc.imc_accept(bound):
        party.answer()
    party.ask("close", name="another")
    for _ in range(2):
        with raises(errno.EIO, EndOfStream):
            imc.imc_accept(bound)


@connects_before_accept
def test_pending_connections_survive_the_closing_of_the_address(party: Party, imc: Imc, port: Port) -> None:
    bound, address = port
    party.give("address", address)
    address.close()
    for name in ("first", "second"):
        party.ask("connect", address="address", name=name)
        party.ask("send", connection=name, data=name)
    party.ask("close", name="address")
    for name in ("first", "second"):
        with imc.imc_accept(bound) as server:
            assert imc.imc_recvmsg(server).data.decode() == name


def test_what_is_accepted_and_connected_is_close_on_exec_and_nothing_else_was_opened(imc: Imc, port: Port) -> None:
    before = OpenDescriptors()
    link = connect_and_accept(imc, *port)
    assert before.only(link.client, link.server)
    for connection in (link.client, link.server):
        assert type(connection) is ConnectedSocket
        assert not os.get_inheritable(connection.fileno())
        assert os.get_blocking(connection.fileno())
        connection.close()


# Processes that die


def test_a_server_that_was_killed_cannot_be_connected_to(imc: Imc, port: Port, protocol: str) -> None:
    with in_a_process(protocol) as server, accept_from(server, imc, port) as connection:
        server.ask("makeboundsock", name="port")
        server.ask("send", connection="connection", data="", descriptors=["port's address"])
        [address] = imc.imc_recvmsg(connection).descriptors
        assert isinstance(address, SocketAddress)
        with address:
            server.kill()
            with raises(errno.EIO, EndOfStream):
                imc.imc_recvmsg(connection)
            with raises(errno.EIO):
                imc.imc_connect(address)


def test_what_a_killed_client_had_sent_is_delivered_and_then_the_end(imc: Imc, port: Port, protocol: str) -> None:
    with in_a_process(protocol) as client, accept_from(client, imc, port) as server:
        client.ask("send", connection="connection", data="last words")
        client.kill()
        assert imc.imc_recvmsg(server).data == b"last words"
        with raises(errno.EIO, EndOfStream):
            imc.imc_recvmsg(server)
        with raises(errno.EIO, EndOfStream):
            imc.imc_sendmsg(server, b"anybody there?")


@descriptor_protocols
def test_accept_ends_when_the_last_holder_of_the_address_was_killed(imc: Imc, port: Port, protocol: str) -> None:
    bound, address = port
    with in_a_process(protocol) as holder:
        holder.give("address", address)
        address.close()
        holder.kill()
        with raises(errno.EIO, EndOfStream):
            imc.imc_accept(bound)


# Bad connect messages

SEQPACKET = "seqpacket pair"
# "right" stands for the message that the protocol expects: a byte or, for datagrams, none.
MISBEHAVIOUR: dict[str, tuple[bytes | None, list[str]]] = {
    "wrong byte": (b"d", [SEQPACKET]),
    "two bytes": (CONNECT * 2, [SEQPACKET]),
    "too many bytes": (CONNECT * 1000, [SEQPACKET]),
    "no fd": (None, []),
    "two fds": (None, [SEQPACKET, SEQPACKET]),
    "253 fds": (None, [SEQPACKET] * 253),
} | {f"{kind} instead": (None, [kind]) for kind in FD_KINDS if kind != SEQPACKET}


@message_protocols
@pytest.mark.parametrize("misbehaviour", MISBEHAVIOUR)
def test_one_bad_connect_message_does_not_stop_the_next_good_one(
    protocol: str, imc: Imc, port: Port, misbehaviour: str
) -> None:
    bound, address = port
    before = OpenDescriptors()
    data, kinds = MISBEHAVIOUR[misbehaviour]
    if data is None:
        data = b"" if protocol == "datagram" else CONNECT
    with fds_of(*kinds) as fds:
        send_connect_message(protocol, address, data, fds)
    with raises(errno.EIO, MalformedMessage):
        imc.imc_accept(bound)
    assert before.only()
    link = connect_and_accept(imc, bound, address)
    assert before.only(link.client, link.server)
    with link.client, link.server:
        imc.imc_sendmsg(link.client, b"good")
        assert imc.imc_recvmsg(link.server).data == b"good"


@descriptor_protocols
@pytest.mark.parametrize("kinds", [[], [SEQPACKET]], ids=["alone", "with a fd"])
def test_a_connect_message_of_no_bytes_is_malformed_and_no_end(
    imc: Imc, port: Port, protocol: str, kinds: list[str]
) -> None:
    bound, address = port
    with fds_of(*kinds) as fds:
        send_connect_message(protocol, address, b"", fds)
    before = OpenDescriptors()
    with raises(errno.EIO, MalformedMessage):
        imc.imc_accept(bound)
    assert before.only()
    link = connect_and_accept(imc, bound, address)
    with link.client, link.server:
        send_connect_message(protocol, address, b"")
    address.close()
    with raises(errno.EIO, MalformedMessage):
        imc.imc_accept(bound)
    with raises(errno.EIO, EndOfStream):
        imc.imc_accept(bound)
