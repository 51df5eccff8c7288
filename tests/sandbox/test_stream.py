"""What stream alone does; its tokens are in test_tokens.py."""

import errno

import pytest

from sandbox.errors import EndOfStream, MalformedMessage
from sandbox.imc import Imc
from tests.kernel import Background
from tests.sandbox.connections import make_imc
from tests.sandbox.raw import fds_of, send_connect_message
from tests.sandbox.refusals import raises


@pytest.mark.parametrize(("backlog", "pending"), [(None, 6), (0, 1), (2, 3)])
def test_one_connection_more_than_the_backlog_may_wait(backlog: int | None, pending: int) -> None:
    imc = Imc("stream") if backlog is None else Imc("stream", backlog=backlog)
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        clients = [imc.imc_connect(address) for _ in range(pending)]
        one_more = Background(lambda: imc.imc_connect(address))
        one_more.until_it_waits("unix_wait")
        imc.imc_accept(bound).close()
        clients.append(one_more.result())
        for client in clients:
            client.close()


def test_a_client_that_waits_for_a_server_that_dies_gets_eio() -> None:
    imc = Imc("stream", backlog=0)
    bound, address = imc.imc_makeboundsock()
    with address, imc.imc_connect(address):
        waiting = Background(lambda: imc.imc_connect(address))
        waiting.until_it_waits("unix_wait")
        bound.close()
        with raises(errno.EIO):
            waiting.result()


def test_a_client_that_left_is_accepted_like_any_other_and_stops_no_other() -> None:
    imc = Imc("stream")
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        with fds_of("file") as fds:
            send_connect_message("stream", address, b"noise", fds)
        with imc.imc_connect(address) as client, imc.imc_accept(bound) as gone, imc.imc_accept(bound) as server:
            with raises(errno.EIO, MalformedMessage):
                imc.imc_recvmsg(gone)
            with raises(errno.EIO, EndOfStream):
                imc.imc_recvmsg(gone)
            imc.imc_sendmsg(client, b"hello")
            assert imc.imc_recvmsg(server).data == b"hello"


def test_a_datagram_socket_behind_the_token_is_eio() -> None:
    bound, address = make_imc("datagram").imc_makeboundsock()
    with bound, address, raises(errno.EIO):
        Imc("stream").imc_connect(address)
