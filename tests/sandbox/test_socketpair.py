"""What socketpair alone does, and what acknowledged has from it."""

import errno
import os
import signal
import socket

import pytest

from sandbox.abi import CONNECT
from sandbox.descriptors import BoundSocket, SocketAddress
from sandbox.errors import EndOfStream, MalformedMessage
from sandbox.imc import Imc
from tests.children import in_child
from tests.kernel import OpenDescriptors, open_files
from tests.sandbox.connections import connect_and_accept
from tests.sandbox.raw import fds_of, raw, received_raw, send_raw
from tests.sandbox.refusals import raises
from tests.sandbox.vectors import unframed


@pytest.mark.parametrize("layout", ["2013", "recent"])
def test_connect_sends_the_message_of_native_client(layout: str) -> None:
    vector = unframed(layout, "imc_connect")
    imc = Imc("socketpair", layout)
    bound, address = imc.imc_makeboundsock()
    with bound, address, imc.imc_connect(address) as client, raw(bound) as receiver:
        with received_raw(receiver) as packet:
            assert packet.data.hex() == vector["data_hex"]
            [fd] = packet.fds
            with socket.socket(fileno=os.dup(fd)) as end, raw(client) as ours:
                assert end.type == socket.SOCK_SEQPACKET
                end.send(b"raw")
                assert ours.recv(100) == b"raw"
        # Only the receiver had the other end: connect closed its copy.
        with raises(errno.EIO, EndOfStream):
            imc.imc_recvmsg(client)


@pytest.mark.parametrize("protocol", ["socketpair", "acknowledged"], indirect=True)
def test_both_ends_are_nameless_seqpacket_sockets(imc: Imc) -> None:
    bound, address = imc.imc_makeboundsock()
    with bound, address, raw(bound) as server_fd, raw(address) as client_fd:
        for sock in (server_fd, client_fd):
            assert (sock.family, sock.type, sock.getsockname()) == (socket.AF_UNIX, socket.SOCK_SEQPACKET, "")
        assert address.identity() == open_files()[address.fileno()]


def test_more_connections_may_wait_than_a_name_would_let() -> None:
    imc = Imc("socketpair")
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        clients = [imc.imc_connect(address) for _ in range(60)]
        for number, client in enumerate(clients):
            imc.imc_sendmsg(client, bytes([number]))
        for number, client in enumerate(clients):
            with client, imc.imc_accept(bound) as server:
                assert imc.imc_recvmsg(server).data == bytes([number])


def test_whoever_shuts_the_shared_address_down_breaks_it_for_all() -> None:
    imc = Imc("socketpair")
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        with raw(address) as co_holder:
            co_holder.shutdown(socket.SHUT_RDWR)
        with raises(errno.EIO):
            imc.imc_connect(address)
        with raises(errno.EIO, EndOfStream):
            imc.imc_accept(bound)


@pytest.mark.parametrize("protocol", ["socketpair", "acknowledged"], indirect=True)
def test_an_adopted_stream_pair_works_as_in_the_seed(imc: Imc) -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with BoundSocket(left.detach()) as bound, SocketAddress(right.detach()) as address:
        for _ in range(3):
            link = connect_and_accept(imc, bound, address)
            with link.client, link.server:
                imc.imc_sendmsg(link.client, b"hello")
                assert imc.imc_recvmsg(link.server).data == b"hello"
        address.close()
        for _ in range(2):
            with raises(errno.EIO, EndOfStream):
                imc.imc_accept(bound)


def test_pending_connections_on_a_stream_pair_are_read_one_at_a_time() -> None:
    imc = Imc("socketpair")
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with BoundSocket(left.detach()) as bound, SocketAddress(right.detach()) as address:
        clients = [imc.imc_connect(address) for _ in range(3)]
        address.close()
        for client in clients:
            with client, imc.imc_accept(bound) as server:
                imc.imc_sendmsg(client, b"hello")
                assert imc.imc_recvmsg(server).data == b"hello"


@pytest.mark.parametrize("protocol", ["socketpair", "acknowledged"], indirect=True)
@in_child
def test_a_dead_server_of_a_stream_pair_is_no_sigpipe(imc: Imc) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    left.close()
    with SocketAddress(right.detach()) as address, raises(errno.EIO):
        imc.imc_connect(address)


def test_a_stray_byte_on_a_stream_pair_is_malformed_and_the_next_connection_good() -> None:
    imc = Imc("socketpair")
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with BoundSocket(left.detach()) as bound, SocketAddress(right.detach()) as address:
        with raw(address) as sock:
            send_raw(sock, b"d")
        with raises(errno.EIO, MalformedMessage):
            imc.imc_accept(bound)
        with imc.imc_connect(address) as client, imc.imc_accept(bound) as server:
            imc.imc_sendmsg(client, b"hello")
            assert imc.imc_recvmsg(server).data == b"hello"


@pytest.mark.parametrize("protocol", ["socketpair", "acknowledged"], indirect=True)
@pytest.mark.parametrize("kind", ["file", "pipe", "unconnected socket"])
def test_connecting_to_what_is_no_pair_is_eio(imc: Imc, kind: str) -> None:
    with fds_of(kind) as [fd], SocketAddress(os.dup(fd)) as address:
        before = OpenDescriptors()
        with raises(errno.EIO):
            imc.imc_connect(address)
        assert before.only()


def test_a_stream_socket_as_the_connection_is_malformed() -> None:
    imc = Imc("socketpair")
    bound, address = imc.imc_makeboundsock()
    with bound, address, raw(address) as sock:
        with fds_of("stream pair") as fds:
            send_raw(sock, CONNECT, fds)
        with raises(errno.EIO, MalformedMessage):
            imc.imc_accept(bound)


@pytest.mark.parametrize("protocol", ["socketpair", "acknowledged"])
def test_its_own_address_is_no_connection_for_it_would_keep_accept_from_ever_ending(protocol: str) -> None:
    imc = Imc(protocol)
    bound, address = imc.imc_makeboundsock()
    with bound:
        with address, raw(address) as sock:
            send_raw(sock, CONNECT, [address.fileno()])
        with raises(errno.EIO, MalformedMessage):
            imc.imc_accept(bound)
        with raises(errno.EIO, EndOfStream):
            imc.imc_accept(bound)


def test_were_it_one_accept_would_not_end_as_long_as_it_is_held() -> None:
    imc = Imc("socketpair")
    bound, address = imc.imc_makeboundsock()
    bound.kept_out = frozenset()
    with bound:
        with address, raw(address) as sock:
            send_raw(sock, CONNECT, [address.fileno()])
        with imc.imc_accept(bound), raw(bound) as waiting, pytest.raises(BlockingIOError):
            waiting.recv(1, socket.MSG_DONTWAIT)
        with raises(errno.EIO, EndOfStream):
            imc.imc_accept(bound)


def test_of_a_malformed_connect_message_it_is_known_which_process_sent_it() -> None:
    bound, address = Imc("socketpair").imc_makeboundsock()
    with bound, address:
        with raw(address) as sock:
            sock.send(b"x")
        with pytest.raises(MalformedMessage) as refusal:
            Imc("socketpair").imc_accept(bound)
    assert refusal.value.sender == os.getpid()
