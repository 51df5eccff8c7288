"""What each call answers when no descriptor is left.

Every test is a child, so its limit is its own; `descriptors_left` sees to it that a call that failed kept none.
"""

import errno
import os

import pytest

from sandbox.abi import NONBLOCK
from sandbox.descriptors import HostFile
from sandbox.errors import ImcError
from sandbox.imc import Imc
from sandbox.wire import HEADER_WITHOUT_DESCRIPTORS
from tests.children import descriptors_left, in_child
from tests.kernel import Background
from tests.sandbox.connections import connect_and_accept, make_link
from tests.sandbox.raw import raw, send_raw
from tests.sandbox.refusals import raises

every_count_too_small = pytest.mark.parametrize("left", [0, 1])


@every_count_too_small
@in_child
def test_makeboundsock_is_emfile(imc: Imc, left: int) -> None:
    with descriptors_left(left), raises(errno.EMFILE):
        imc.imc_makeboundsock()


@every_count_too_small
@in_child
def test_connect_is_emfile(imc: Imc, protocol: str, left: int) -> None:
    bound, address = imc.imc_makeboundsock()
    if protocol == "stream":
        left = 0  # one is all that it takes
    with descriptors_left(left), raises(errno.EMFILE):
        imc.imc_connect(address)
    assert connect_and_accept(imc, bound, address)


@every_count_too_small
@in_child
def test_socketpair_is_enfile(imc: Imc, left: int) -> None:
    with descriptors_left(left), raises(errno.ENFILE):
        imc.imc_socketpair()


@in_child
def test_mem_obj_create_is_enomem(imc: Imc) -> None:
    with descriptors_left(0), raises(errno.ENOMEM):
        imc.imc_mem_obj_create(65536)


@pytest.mark.parametrize("protocol", ["stream"], indirect=True)
@in_child
def test_stream_accept_is_emfile_and_the_connection_still_waits(imc: Imc) -> None:
    bound, address = imc.imc_makeboundsock()
    client = imc.imc_connect(address)
    with descriptors_left(0):
        for _ in range(2):
            with raises(errno.EMFILE):
                imc.imc_accept(bound)
    server = imc.imc_accept(bound)
    imc.imc_sendmsg(client, b"still here")
    assert imc.imc_recvmsg(server).data == b"still here"


@pytest.mark.parametrize("protocol", ["datagram", "socketpair"], indirect=True)
@in_child
def test_elsewhere_accept_is_eio_and_that_connection_is_lost_and_no_other(imc: Imc) -> None:
    bound, address = imc.imc_makeboundsock()
    lost, kept = imc.imc_connect(address), imc.imc_connect(address)
    with descriptors_left(0), raises(errno.EIO):
        imc.imc_accept(bound)
    with pytest.raises(ImcError):
        imc.imc_sendmsg(lost, b"anybody there?")
    server = imc.imc_accept(bound)
    imc.imc_sendmsg(kept, b"here")
    assert imc.imc_recvmsg(server).data == b"here"


@pytest.mark.parametrize("protocol", ["acknowledged"], indirect=True)
@in_child
def test_an_acknowledged_connection_that_is_lost_is_eio_on_both_sides(imc: Imc) -> None:
    bound, address = imc.imc_makeboundsock()
    connecting = Background(lambda: imc.imc_connect(address))
    connecting.until_it_waits("poll")
    with descriptors_left(0), raises(errno.EIO):
        imc.imc_accept(bound)
    with raises(errno.EIO):
        connecting.result()
    assert connect_and_accept(imc, bound, address)


@in_child
def test_a_message_whose_descriptor_finds_no_room_is_eio_and_the_next_one_is_good(imc: Imc) -> None:
    link = make_link(imc)
    _, address = imc.imc_makeboundsock()
    link.imc.imc_sendmsg(link.client, b"lost", (address,))
    link.imc.imc_sendmsg(link.client, b"next")
    with descriptors_left(0):
        with raises(errno.EIO):
            link.imc.imc_recvmsg(link.server)
        assert link.imc.imc_recvmsg(link.server) == (b"next", (), 0)


@in_child
def test_a_message_is_not_delivered_with_some_of_its_descriptors(imc: Imc) -> None:
    link = make_link(imc)
    _, address = imc.imc_makeboundsock()
    link.imc.imc_sendmsg(link.client, b"", (address, HostFile(os.dup(2)), address))
    with descriptors_left(2), raises(errno.EIO):
        link.imc.imc_recvmsg(link.server)
    with raises(errno.EAGAIN):
        link.imc.imc_recvmsg(link.server, flags=NONBLOCK)


@in_child
def test_a_flood_of_descriptors_is_eio_and_closed_as_far_as_it_came(imc: Imc) -> None:
    link = make_link(imc)
    with raw(link.client) as sock:
        send_raw(sock, b"noise", [2] * 253)
    with descriptors_left(3), raises(errno.EIO):
        link.imc.imc_recvmsg(link.server)


@in_child
def test_a_message_that_tells_of_no_descriptor_is_eio_where_one_that_came_with_it_was_lost(imc: Imc) -> None:
    link = make_link(imc)
    with raw(link.client) as sock:
        send_raw(sock, HEADER_WITHOUT_DESCRIPTORS + b"data", [2])
    with descriptors_left(0), raises(errno.EIO):
        link.imc.imc_recvmsg(link.server)


def test_without_memory_for_a_message_it_is_an_imc_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory() -> None:
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr("sandbox.imc.Room", no_memory)
    imc = Imc("socketpair")
    left, right = imc.imc_socketpair()
    with left, right, pytest.raises(ImcError) as raised:
        imc.imc_recvmsg(left)
    assert raised.value.errno == errno.EIO
