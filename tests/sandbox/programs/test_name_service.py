"""The name service: every code, clients that mean it ill, and nothing left of what they sent."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial

import pytest

from sandbox.descriptors import INVALID, Descriptor, SocketAddress
from sandbox.errors import EndOfStream
from sandbox.imc import Imc
from sandbox.programs.name_service import (
    DUPLICATE_NAME,
    INSUFFICIENT_RESOURCES,
    INVALID_ARGUMENT,
    NAME_NOT_FOUND,
    PERMISSION_DENIED,
    SUCCESS,
    NameService,
    NameServiceClient,
    serve,
)
from sandbox.programs.server import accept_all
from sandbox.transport import send_packet
from tests.kernel import OpenDescriptors

pytestmark = pytest.mark.usefixtures("deadline")


class Service:
    """A name service in a thread of this process."""

    def __init__(self, protocol: str, max_names: int, max_connections: int) -> None:
        self.imc = Imc(protocol)
        self.bound, self.address = self.imc.imc_makeboundsock()
        self.names = NameService(max_names)
        self.slots = threading.BoundedSemaphore(max_connections)
        answer = partial(serve, self.imc, service=self.names)
        self.thread = threading.Thread(target=accept_all, args=(self.imc, self.bound, answer, self.slots))
        self.thread.start()

    def client(self) -> NameServiceClient:
        return NameServiceClient(self.imc, self.address)

    def close(self) -> None:
        self.address.close()
        self.thread.join()
        self.bound.close()
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and thread.name.endswith("(_serve)"):
                thread.join()
        for address, _ in self.names._entries.values():
            address.close()


@pytest.fixture(params=["socketpair", "acknowledged"])
def service(request: pytest.FixtureRequest, open_descriptors: OpenDescriptors) -> Iterator[Service]:
    del open_descriptors
    started = Service(request.param, max_names=3, max_connections=4)
    yield started
    started.close()


@pytest.fixture
def client(service: Service) -> Iterator[NameServiceClient]:
    with ExitStack() as stack:
        made = service.client()
        stack.callback(made.close)
        yield made


@pytest.fixture
def server(service: Service) -> Iterator[SocketAddress]:
    bound, address = service.imc.imc_makeboundsock()
    with bound, address:
        yield address


def test_an_address_that_was_inserted_is_found_by_another(
    service: Service, client: NameServiceClient, server: SocketAddress
) -> None:
    assert client.insert("server", server) == SUCCESS
    other = service.client()
    code, found = other.lookup("server")
    assert code == SUCCESS
    assert found is not None
    assert found.identity() == server.identity()
    found.close()
    other.close()


def test_what_is_not_there_is_not_found(client: NameServiceClient) -> None:
    assert client.lookup("nobody") == (NAME_NOT_FOUND, None)
    assert client.delete("nobody") == NAME_NOT_FOUND
    assert client.names() == (SUCCESS, [])


def test_a_name_is_given_once_and_again_after_it_was_deleted(client: NameServiceClient, server: SocketAddress) -> None:
    assert client.insert("server", server) == SUCCESS
    assert client.insert("server", server) == DUPLICATE_NAME
    assert client.delete("server") == SUCCESS
    assert client.lookup("server") == (NAME_NOT_FOUND, None)
    assert client.insert("server", server) == SUCCESS


def test_names_are_listed_in_order(client: NameServiceClient, server: SocketAddress) -> None:
    for name in ("b", "c", "a"):
        client.insert(name, server)
    assert client.names() == (SUCCESS, ["a", "b", "c"])


def test_a_full_table_has_no_resources(client: NameServiceClient, server: SocketAddress) -> None:
    for name in ("a", "b", "c"):
        client.insert(name, server)
    assert client.insert("d", server) == INSUFFICIENT_RESOURCES
    assert client.insert("a", server) == DUPLICATE_NAME


def test_another_s_name_cannot_be_deleted_until_that_one_is_gone(
    service: Service, client: NameServiceClient, server: SocketAddress
) -> None:
    other = service.client()
    assert other.insert("server", server) == SUCCESS
    assert client.delete("server") == PERMISSION_DENIED
    other.close()
    assert client.delete("server") == SUCCESS


@pytest.mark.parametrize(
    "request_",
    ["", "insert", "insert ", "lookup", "delete a b", "list all", "LIST", "lookup \u00e9", f"lookup {'n' * 129}"],
)
def test_what_is_no_request_is_invalid(request_: str, client: NameServiceClient, server: SocketAddress) -> None:
    assert client._ask(request_)[0] == INVALID_ARGUMENT
    assert client._ask(request_, server)[0] == INVALID_ARGUMENT


def test_a_name_may_be_128_bytes_long(client: NameServiceClient, server: SocketAddress) -> None:
    assert client.insert("n" * 128, server) == SUCCESS


def test_an_insert_has_one_address_and_nothing_else_has_any(
    service: Service, client: NameServiceClient, server: SocketAddress
) -> None:
    def ask(request: bytes, *descriptors: Descriptor) -> int:
        service.imc.imc_sendmsg(client._connection, request, descriptors)
        return int(service.imc.imc_recvmsg(client._connection).data)

    left, right = service.imc.imc_socketpair()
    with left, right:
        assert ask(b"insert x") == INVALID_ARGUMENT
        assert ask(b"insert x", left) == INVALID_ARGUMENT
        assert ask(b"insert x", INVALID) == INVALID_ARGUMENT
        assert ask(b"insert x", server, server) == INVALID_ARGUMENT
        assert ask(b"lookup x", server) == INVALID_ARGUMENT
        assert ask(b"list", server) == INVALID_ARGUMENT
        assert ask(b"insert x" + b"y" * 300, server) == INVALID_ARGUMENT
    assert client.names() == (SUCCESS, [])


def test_a_malformed_message_is_invalid_and_the_next_one_is_served(client: NameServiceClient) -> None:
    client._connection.socket.sendmsg([b"no IMC"])
    assert int(client._imc.imc_recvmsg(client._connection).data) == INVALID_ARGUMENT
    assert client.names() == (SUCCESS, [])


def test_one_that_never_reads_holds_up_nobody(service: Service, client: NameServiceClient) -> None:
    silent = service.client()
    with suppress(BlockingIOError):
        while True:
            send_packet(silent._connection.socket, [b"no IMC"], nonblock=True)
    assert client.names() == (SUCCESS, [])
    silent.close()


def test_more_connections_than_it_serves_are_closed(service: Service, client: NameServiceClient) -> None:
    clients = [service.client() for _ in range(3)]
    assert [other.names()[0] for other in clients] == [SUCCESS] * 3
    surplus = service.imc.imc_connect(service.address)
    with surplus, pytest.raises(EndOfStream):
        service.imc.imc_recvmsg(surplus)
    assert client.names()[0] == SUCCESS
    for other in clients:
        other.close()


def test_a_bad_connect_message_does_not_end_it(service: Service, client: NameServiceClient) -> None:
    fd = os.dup(service.address.fileno())
    with service.imc.imc_connect(service.address):
        os.write(fd, b"x")
    os.close(fd)
    assert client.names()[0] == SUCCESS
    other = service.client()
    assert other.names()[0] == SUCCESS
    other.close()
