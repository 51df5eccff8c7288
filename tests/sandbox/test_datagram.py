"""What datagram alone does; its tokens are in test_tokens.py."""

import errno
import socket
from pathlib import Path

from sandbox.imc import Imc
from tests.kernel import Background
from tests.sandbox.connections import make_imc, service_port
from tests.sandbox.raw import raw
from tests.sandbox.refusals import raises
from tests.sandbox.vectors import unframed

QUEUE = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text(encoding="ascii"))


def test_without_a_service_port_of_its_own_nobody_can_connect() -> None:
    imc = Imc("datagram")
    bound, address = imc.imc_makeboundsock()
    with bound, address, raises(errno.EIO):
        imc.imc_connect(address)


def test_connect_sends_the_message_of_native_client_from_the_service_port() -> None:
    vector = unframed("2010", "imc_connect")
    with service_port() as port:
        imc = Imc("datagram", global_fd=port)
        bound, address = imc.imc_makeboundsock()
        with bound, address, imc.imc_connect(address) as client, raw(bound) as receiver, raw(port) as sender:
            data, control, flags, source = receiver.recvmsg(100, 1000)
            assert (data.hex(), flags) == (vector["data_hex"], 0)
            assert source == sender.getsockname()
            [(level, kind, fds)] = control
            assert (level, kind, len(fds)) == (socket.SOL_SOCKET, socket.SCM_RIGHTS, 4 * vector["n_fds"])
            with socket.socket(fileno=int.from_bytes(fds, "little")) as end:
                assert end.type == socket.SOCK_SEQPACKET
                end.send(b"raw")
                with raw(client) as ours:
                    assert ours.recv(100) == b"raw"


def test_one_connection_more_than_the_kernels_queue_may_wait() -> None:
    imc = make_imc("datagram")
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        clients = [imc.imc_connect(address) for _ in range(QUEUE + 1)]
        one_more = Background(lambda: imc.imc_connect(address))
        one_more.until_it_waits("unix_wait")
        imc.imc_accept(bound).close()
        clients.append(one_more.result())
        for client in clients:
            client.close()


def test_a_client_that_waits_for_a_server_that_dies_gets_eio() -> None:
    imc = make_imc("datagram")
    bound, address = imc.imc_makeboundsock()
    with address:
        clients = [imc.imc_connect(address) for _ in range(QUEUE + 1)]
        waiting = Background(lambda: imc.imc_connect(address))
        waiting.until_it_waits("unix_wait")
        bound.close()
        with raises(errno.EIO):
            waiting.result()
        for client in clients:
            client.close()


def test_a_process_can_connect_to_its_own_service_port() -> None:
    imc_of_server = Imc("datagram")
    bound, address = imc_of_server.imc_makeboundsock()
    imc = Imc("datagram", global_fd=bound)
    with bound, address, imc.imc_connect(address) as client, imc.imc_accept(bound) as server:
        imc.imc_sendmsg(client, b"to myself")
        assert imc.imc_recvmsg(server).data == b"to myself"


def test_a_stream_listener_behind_the_token_is_eio() -> None:
    bound, address = Imc("stream").imc_makeboundsock()
    with bound, address, raises(errno.EIO):
        make_imc("datagram").imc_connect(address)
