"""The seven calls, errno for errno, over every protocol."""

import array
import errno
import fcntl
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest

from sandbox.abi import NONBLOCK, TOKEN_BYTES
from sandbox.descriptors import (
    INVALID,
    BoundSocket,
    ConnectedSocket,
    DataOnlySocket,
    Descriptor,
    HostFile,
    SharedMemory,
    SocketAddress,
)
from sandbox.errors import EndOfStream, ImcError, MalformedMessage
from sandbox.imc import COPIED_MAX, HEADS_REMEMBERED, Imc, Room
from sandbox.wire import HEADER_WITHOUT_DESCRIPTORS
from tests.children import in_child
from tests.kernel import Background, OpenDescriptors
from tests.sandbox.connections import Link, connect_and_accept, fill, make_link
from tests.sandbox.raw import FD_KINDS, SO_PASSPIDFD, fds_of, raw, send_raw, seqpacket_pair
from tests.sandbox.refusals import raises

SENDABLE: Final = [SocketAddress, DataOnlySocket, SharedMemory, HostFile]
UNSENDABLE: Final = [BoundSocket, ConnectedSocket]
CARRIES_MESSAGES: Final = [ConnectedSocket, DataOnlySocket]
KINDS: Final = [*SENDABLE, *UNSENDABLE]


class OneOfEach:
    """A descriptor of each kind, and the connection that may carry them."""

    def __init__(self, link: Link, stack: ExitStack) -> None:
        bound, address = link.imc.imc_makeboundsock()
        left, right = link.imc.imc_socketpair()
        memory = link.imc.imc_mem_obj_create(65536)
        host_file = HostFile(os.open("/dev/null", os.O_RDWR))
        self._all = [bound, address, left, memory, host_file]
        for descriptor in (*self._all, right):
            stack.enter_context(descriptor)
        self._all.append(link.client)

    def __getitem__(self, kind: type[Descriptor]) -> Any:
        return next(descriptor for descriptor in self._all if type(descriptor) is kind)


@pytest.fixture
def one_of(link: Link) -> Iterator[OneOfEach]:
    with ExitStack() as stack:
        yield OneOfEach(link, stack)


def identity(descriptor: Descriptor) -> tuple[int, int]:
    status = os.fstat(descriptor.fileno())
    return status.st_dev, status.st_ino


# What goes with what


def test_an_unknown_protocol_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="carrier pigeon"):
        Imc("carrier pigeon")


@pytest.mark.parametrize("layout", ["2010", "2013", "recent", "2011", ""])
def test_a_layout_goes_with_its_protocols_alone(protocol: str, layout: str) -> None:
    right = {"2010"} if protocol in ("stream", "datagram") else {"2013", "recent"}
    if layout in right:
        assert Imc(protocol, layout).layout == layout
    else:
        with pytest.raises(ValueError, match="layout"):
            Imc(protocol, layout)


def test_the_usual_layout_is_2010_for_names_and_2013_for_descriptors(imc: Imc, protocol: str) -> None:
    assert imc.layout == ("2010" if protocol in ("stream", "datagram") else "2013")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in CARRIES_MESSAGES])
def test_messages_on_another_kind_of_descriptor_are_einval(
    link: Link, one_of: OneOfEach, kind: type[Descriptor]
) -> None:
    with raises(errno.EINVAL):
        link.imc.imc_sendmsg(one_of[kind], b"x")
    with raises(errno.EINVAL):
        link.imc.imc_recvmsg(one_of[kind])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not BoundSocket])
def test_accept_on_another_kind_of_descriptor_is_einval(link: Link, one_of: OneOfEach, kind: type[Descriptor]) -> None:
    with raises(errno.EINVAL):
        link.imc.imc_accept(one_of[kind])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not SocketAddress])
def test_connect_to_another_kind_of_descriptor_is_einval(link: Link, one_of: OneOfEach, kind: type[Descriptor]) -> None:
    with raises(errno.EINVAL):
        link.imc.imc_connect(one_of[kind])


def test_no_call_takes_the_invalid_descriptor(imc: Imc) -> None:
    calls: list[Callable[[Any], object]] = [
        imc.imc_accept,
        imc.imc_connect,
        imc.imc_recvmsg,
        lambda invalid: imc.imc_sendmsg(invalid, b"x"),
    ]
    for call in calls:
        with raises(errno.EINVAL):
            call(INVALID)


def test_a_closed_descriptor_is_ebadf_in_every_call(link: Link, one_of: OneOfEach) -> None:
    imc = link.imc
    for kind in KINDS:
        one_of[kind].close()
    with raises(errno.EBADF):
        imc.imc_accept(one_of[BoundSocket])
    with raises(errno.EBADF):
        imc.imc_connect(one_of[SocketAddress])
    with raises(errno.EBADF):
        one_of[SharedMemory].map()
    for kind in CARRIES_MESSAGES:
        with raises(errno.EBADF):
            imc.imc_sendmsg(one_of[kind], b"x")
        with raises(errno.EBADF):
            imc.imc_recvmsg(one_of[kind])


@pytest.mark.parametrize("kind", SENDABLE)
def test_a_closed_descriptor_in_a_message_is_ebadf(link: Link, one_of: OneOfEach, kind: type[Descriptor]) -> None:
    link.imc.imc_sendmsg(link.client, b"", (one_of[kind],))
    for descriptor in link.imc.imc_recvmsg(link.server).descriptors:
        descriptor.close()
    one_of[kind].close()
    for descriptors in ((one_of[kind],), (INVALID, one_of[kind])):
        with raises(errno.EBADF):
            link.imc.imc_sendmsg(link.client, b"x", descriptors)
    with raises(errno.EAGAIN):
        link.imc.imc_recvmsg(link.server, flags=NONBLOCK)


@pytest.mark.parametrize("flags", [2, 3, -1])
def test_unknown_flags_are_einval(link: Link, flags: int) -> None:
    with raises(errno.EINVAL):
        link.imc.imc_sendmsg(link.client, b"x", flags=flags)
    with raises(errno.EINVAL):
        link.imc.imc_recvmsg(link.server, flags=flags)


# Sending


def test_sendmsg_returns_the_size_of_the_data(link: Link) -> None:
    assert link.imc.imc_sendmsg(link.client, b"") == 0
    assert link.imc.imc_sendmsg(link.client, b"four") == 4
    assert link.imc.imc_sendmsg(link.client, [b"one", bytearray(b"two"), memoryview(b"three")], (INVALID,)) == 11
    assert link.imc.imc_recvmsg(link.server) == (b"", (), 0)
    assert link.imc.imc_recvmsg(link.server) == (b"four", (), 0)
    assert link.imc.imc_recvmsg(link.server) == (b"onetwothree", (INVALID,), 0)


@pytest.mark.parametrize(
    "data", [bytearray(b"abcd"), memoryview(b"abcd"), memoryview(array.array("H", [0x6261, 0x6463])), (b"ab", b"cd")]
)
def test_any_buffer_is_sent_byte_for_byte(link: Link, data: Any) -> None:
    assert link.imc.imc_sendmsg(link.client, data) == 4
    assert link.imc.imc_recvmsg(link.server).data == b"abcd"


def test_256_rooms_are_sent_and_257_are_einval(link: Link) -> None:
    assert link.imc.imc_sendmsg(link.client, [b"x"] * 256) == 256
    assert link.imc.imc_recvmsg(link.server).data == b"x" * 256
    with raises(errno.EINVAL):
        link.imc.imc_sendmsg(link.client, [b""] * 257)


def test_131072_bytes_are_sent_and_131073_are_einval(link: Link) -> None:
    longest = bytes(range(256)) * 512
    assert link.imc.imc_sendmsg(link.client, longest) == 131072
    assert link.imc.imc_recvmsg(link.server) == (longest, (), 0)
    with raises(errno.EINVAL):
        link.imc.imc_sendmsg(link.client, bytes(131073))
    with raises(errno.EINVAL):
        link.imc.imc_sendmsg(link.client, [bytes(65536), bytes(65537)])


@pytest.mark.parametrize("flags", [0, NONBLOCK])
@pytest.mark.parametrize("size", [COPIED_MAX - 1, COPIED_MAX, COPIED_MAX + 1])
def test_data_arrives_alike_whether_it_is_copied_behind_its_header_or_not(link: Link, size: int, flags: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    assert link.imc.imc_sendmsg(link.client, data, flags=flags) == size
    with raw(link.server) as receiver:
        assert receiver.recv(size + 100) == HEADER_WITHOUT_DESCRIPTORS + data
    link.imc.imc_sendmsg(link.client, data, flags=flags)
    assert link.imc.imc_recvmsg(link.server, flags=flags) == (data, (), 0)


def test_the_longest_message_goes_with_eight_descriptors(link: Link, one_of: OneOfEach) -> None:
    link.imc.imc_sendmsg(link.client, bytes(131072), [one_of[SocketAddress]] * 8)
    data, descriptors, flags = link.imc.imc_recvmsg(link.server)
    assert (len(data), len(descriptors), flags) == (131072, 8, 0)
    for descriptor in descriptors:
        assert isinstance(descriptor, SocketAddress)
        assert descriptor.identity() == one_of[SocketAddress].identity()
        descriptor.close()


@pytest.mark.parametrize("kind", [HostFile, SocketAddress])
def test_eight_descriptors_are_sent_and_nine_are_einval(link: Link, one_of: OneOfEach, kind: type[Descriptor]) -> None:
    link.imc.imc_sendmsg(link.client, b"", [one_of[kind]] * 8)
    descriptors = link.imc.imc_recvmsg(link.server).descriptors
    assert [type(descriptor) for descriptor in descriptors] == [kind] * 8
    for descriptor in descriptors:
        descriptor.close()
    with raises(errno.EINVAL):
        link.imc.imc_sendmsg(link.client, b"", [one_of[kind]] * 9)


@pytest.mark.parametrize("kind", UNSENDABLE)
def test_a_kind_that_may_not_be_sent_is_einval_and_nothing_is_sent(
    link: Link, one_of: OneOfEach, kind: type[Descriptor]
) -> None:
    with raises(errno.EINVAL):
        link.imc.imc_sendmsg(link.client, b"x", (one_of[HostFile], one_of[kind]))
    with raises(errno.EAGAIN):
        link.imc.imc_recvmsg(link.server, flags=NONBLOCK)


@pytest.mark.parametrize("kind", [*SENDABLE, type(INVALID)])
def test_a_data_only_socket_carries_no_descriptor_of_any_kind(
    link: Link, one_of: OneOfEach, kind: type[Descriptor]
) -> None:
    left, right = link.imc.imc_socketpair()
    with left, right:
        with raises(errno.EINVAL):
            link.imc.imc_sendmsg(left, b"x", (INVALID if kind is type(INVALID) else one_of[kind],))
        with raises(errno.EAGAIN):
            link.imc.imc_recvmsg(right, flags=NONBLOCK)


def test_data_goes_both_ways_over_a_data_only_pair(imc: Imc) -> None:
    left, right = imc.imc_socketpair()
    with left, right:
        for source, target in ((left, right), (right, left)):
            assert imc.imc_sendmsg(source, b"data") == 4
            assert imc.imc_recvmsg(target) == (b"data", (), 0)


def test_what_is_sent_was_borrowed(link: Link, one_of: OneOfEach) -> None:
    before = OpenDescriptors()
    link.imc.imc_sendmsg(link.client, b"", [one_of[kind] for kind in SENDABLE])
    assert before.only()
    for descriptor in link.imc.imc_recvmsg(link.server).descriptors:
        descriptor.close()


@pytest.mark.parametrize("kind", SENDABLE)
def test_a_descriptor_arrives_as_its_kind_close_on_exec(link: Link, one_of: OneOfEach, kind: type[Descriptor]) -> None:
    link.imc.imc_sendmsg(link.client, b"with", (one_of[kind],))
    data, [descriptor], flags = link.imc.imc_recvmsg(link.server)
    with descriptor:
        assert (data, flags, type(descriptor)) == (b"with", 0, kind)
        assert not os.get_inheritable(descriptor.fileno())
        if isinstance(descriptor, SocketAddress):
            assert descriptor.identity() == one_of[kind].identity()
        else:
            assert identity(descriptor) == identity(one_of[kind])
        if isinstance(descriptor, SharedMemory):
            assert descriptor.size == 65536


def test_descriptors_arrive_in_order_with_invalid_ones_between(link: Link, one_of: OneOfEach) -> None:
    sent = [
        INVALID,
        one_of[HostFile],
        INVALID,
        one_of[SocketAddress],
        one_of[DataOnlySocket],
        one_of[SharedMemory],
        INVALID,
    ]
    link.imc.imc_sendmsg(link.client, b"", sent)
    received = link.imc.imc_recvmsg(link.server).descriptors
    assert [type(descriptor) for descriptor in received] == [type(descriptor) for descriptor in sent]
    assert [descriptor == INVALID for descriptor in received] == [descriptor is INVALID for descriptor in sent]
    for descriptor in received:
        descriptor.close()


def test_sent_memory_is_shared_and_not_copied(link: Link, one_of: OneOfEach) -> None:
    link.imc.imc_sendmsg(link.client, b"", (one_of[SharedMemory],))
    [memory] = link.imc.imc_recvmsg(link.server).descriptors
    assert isinstance(memory, SharedMemory)
    with memory, memory.map() as theirs, one_of[SharedMemory].map() as ours:
        theirs[100:105] = b"hello"
        assert ours[100:105] == b"hello"


def test_a_sent_data_only_socket_carries_data_to_its_other_end(link: Link) -> None:
    left, right = link.imc.imc_socketpair()
    with left, right:
        link.imc.imc_sendmsg(link.client, b"", (left,))
        [received] = link.imc.imc_recvmsg(link.server).descriptors
        assert isinstance(received, DataOnlySocket)
        with received:
            link.imc.imc_sendmsg(received, b"through the copy")
        assert link.imc.imc_recvmsg(right).data == b"through the copy"


@pytest.mark.parametrize("size", [0, 100, -65536])
def test_memory_that_is_no_positive_multiple_of_a_page_is_einval(link: Link, size: int) -> None:
    with fds_of("memfd") as [fd], SharedMemory(os.dup(fd), size) as memory, raises(errno.EINVAL):
        link.imc.imc_sendmsg(link.client, b"", (memory,))


def quota_file(quota_id: bytes) -> HostFile:
    return HostFile(os.open("/dev/null", os.O_RDWR), quota_id)


@pytest.mark.parametrize("protocol", ["socketpair", "acknowledged"], indirect=True)
def test_a_quota_id_travels_with_its_host_file(link: Link) -> None:
    with quota_file(bytes(range(16))) as sent:
        link.imc.imc_sendmsg(link.client, b"", (sent,))
    [received] = link.imc.imc_recvmsg(link.server).descriptors
    with received:
        assert isinstance(received, HostFile)
        assert received.quota_id == bytes(range(16))


@pytest.mark.parametrize(
    "imc", [Imc("stream"), Imc("datagram"), Imc("socketpair", "recent")], ids=lambda imc: imc.layout
)
def test_layouts_without_a_quota_wrapper_refuse_to_send_one(imc: Imc) -> None:
    theirs, ours = seqpacket_pair()
    with theirs, ConnectedSocket(ours.detach()) as client, quota_file(bytes(16)) as sent, raises(errno.EINVAL):
        imc.imc_sendmsg(client, b"", (sent,))


@pytest.mark.parametrize("protocol", ["stream", "datagram"], indirect=True)
def test_an_address_that_holds_no_token_cannot_be_sent_as_one(link: Link) -> None:
    for kind in ("seqpacket pair", "file"):
        with fds_of(kind) as [fd], SocketAddress(os.dup(fd)) as address, raises(errno.EIO):
            link.imc.imc_sendmsg(link.client, b"", (address,))


@pytest.mark.parametrize("protocol", ["stream", "datagram"], indirect=True)
def test_a_received_token_lies_in_a_memfd_that_nobody_can_change(link: Link, one_of: OneOfEach) -> None:
    link.imc.imc_sendmsg(link.client, b"", (one_of[SocketAddress],))
    [address] = link.imc.imc_recvmsg(link.server).descriptors
    with address:
        assert os.fstat(address.fileno()).st_size == TOKEN_BYTES
        with pytest.raises(PermissionError):
            os.pwrite(address.fileno(), b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(address.fileno(), 0)


def test_a_full_queue_is_eagain_with_nonblock_and_drains(link: Link) -> None:
    sent = fill(lambda: link.imc.imc_sendmsg(link.client, b"x", flags=NONBLOCK))
    assert sent > 10
    for size in (COPIED_MAX, COPIED_MAX + 1):
        with raises(errno.EAGAIN):
            link.imc.imc_sendmsg(link.client, bytes(size), flags=NONBLOCK)
    for _ in range(sent):
        assert link.imc.imc_recvmsg(link.server).data == b"x"
    with raises(errno.EAGAIN):
        link.imc.imc_recvmsg(link.server, flags=NONBLOCK)
    link.imc.imc_sendmsg(link.client, b"x", flags=NONBLOCK)


def test_a_message_that_the_kernel_finds_too_long_is_emsgsize(link: Link) -> None:
    with raw(link.client) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with raises(errno.EMSGSIZE):
        link.imc.imc_sendmsg(link.client, bytes(131072))
    link.imc.imc_sendmsg(link.client, b"short")
    assert link.imc.imc_recvmsg(link.server).data == b"short"


def test_sending_to_a_dead_peer_is_the_end_of_the_stream(link: Link) -> None:
    link.server.close()
    for size in (COPIED_MAX, COPIED_MAX + 1):
        with raises(errno.EIO, EndOfStream):
            link.imc.imc_sendmsg(link.client, bytes(size))


@in_child
def test_a_dead_peer_is_no_sigpipe(imc: Imc) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    link = make_link(imc)
    link.server.close()
    for flags in (0, NONBLOCK):
        with raises(errno.EIO, EndOfStream):
            link.imc.imc_sendmsg(link.client, b"x", flags=flags)


@in_child
def test_connecting_to_a_dead_server_is_no_sigpipe(imc: Imc) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    bound, address = imc.imc_makeboundsock()
    bound.close()
    with raises(errno.EIO):
        imc.imc_connect(address)


# Receiving


@pytest.mark.parametrize("size", [-1, 131073, 2**40])
def test_a_receive_size_outside_the_limits_is_einval(link: Link, size: int) -> None:
    with raises(errno.EINVAL):
        link.imc.imc_recvmsg(link.server, size)


@pytest.mark.parametrize("count", [-1, 9])
def test_max_descriptors_outside_the_limits_are_einval(link: Link, count: int) -> None:
    with raises(errno.EINVAL):
        link.imc.imc_recvmsg(link.server, max_descriptors=count)


def test_an_empty_queue_is_eagain_with_nonblock(link: Link) -> None:
    with raises(errno.EAGAIN):
        link.imc.imc_recvmsg(link.server, flags=NONBLOCK)


@pytest.mark.parametrize(("size", "flags"), [(0, 1), (5, 1), (6, 0), (7, 0), (131072, 0)])
def test_data_is_cut_to_the_size_that_was_asked_for(link: Link, size: int, flags: int) -> None:
    link.imc.imc_sendmsg(link.client, b"sixsix")
    link.imc.imc_sendmsg(link.client, b"next")
    assert link.imc.imc_recvmsg(link.server, size) == (b"sixsix"[:size], (), flags)
    assert link.imc.imc_recvmsg(link.server).data == b"next"


@pytest.mark.parametrize(("count", "flags"), [(0, 2), (1, 2), (2, 2), (3, 0), (8, 0)])
def test_descriptors_are_cut_to_the_number_that_was_asked_for(
    link: Link, one_of: OneOfEach, count: int, flags: int
) -> None:
    link.imc.imc_sendmsg(link.client, b"data", (one_of[HostFile], INVALID, one_of[SocketAddress]))
    before = OpenDescriptors()
    message = link.imc.imc_recvmsg(link.server, max_descriptors=count)
    assert (message.data, message.flags) == (b"data", flags)
    assert [type(descriptor) for descriptor in message.descriptors] == [HostFile, type(INVALID), SocketAddress][:count]
    assert before.only(*(descriptor for descriptor in message.descriptors if descriptor is not INVALID))
    for descriptor in message.descriptors:
        descriptor.close()


def test_both_can_be_cut_at_once(link: Link, one_of: OneOfEach) -> None:
    link.imc.imc_sendmsg(link.client, b"data", (one_of[HostFile],))
    assert link.imc.imc_recvmsg(link.server, 1, 0) == (b"d", (), 3)


def test_what_was_queued_before_the_peer_closed_is_delivered_and_then_the_end(link: Link) -> None:
    link.imc.imc_sendmsg(link.client, b"one")
    link.imc.imc_sendmsg(link.client, b"two")
    link.client.close()
    assert link.imc.imc_recvmsg(link.server).data == b"one"
    assert link.imc.imc_recvmsg(link.server, flags=NONBLOCK).data == b"two"
    for flags in (0, NONBLOCK):
        with raises(errno.EIO, EndOfStream):
            link.imc.imc_recvmsg(link.server, flags=flags)


def leave_unread(link: Link) -> None:
    """Let the client send, receive nothing, and be left with two messages and a reset."""
    link.imc.imc_sendmsg(link.client, b"never read")
    link.imc.imc_sendmsg(link.server, b"one")
    link.imc.imc_sendmsg(link.server, b"two")
    link.server.close()


def test_a_peer_that_leaves_our_data_unread_is_econnreset_once_then_its_data_then_the_end(link: Link) -> None:
    leave_unread(link)
    with raises(errno.ECONNRESET):
        link.imc.imc_recvmsg(link.client)
    assert link.imc.imc_recvmsg(link.client).data == b"one"
    assert link.imc.imc_recvmsg(link.client).data == b"two"
    with raises(errno.EIO, EndOfStream):
        link.imc.imc_recvmsg(link.client)


@pytest.mark.parametrize("size", [COPIED_MAX, COPIED_MAX + 1], ids=["copied", "gathered"])
def test_a_send_consumes_the_reset_and_says_eio(link: Link, size: int) -> None:
    leave_unread(link)
    with raises(errno.EIO, EndOfStream):
        link.imc.imc_sendmsg(link.client, bytes(size))
    assert link.imc.imc_recvmsg(link.client).data == b"one"


def test_the_end_is_never_latched(link: Link) -> None:
    link.client.close()
    with raises(errno.EIO, EndOfStream):
        link.imc.imc_recvmsg(link.server)
    theirs, ours = seqpacket_pair()
    with theirs, ours:
        os.dup2(ours.fileno(), link.server.fileno(), inheritable=False)
        send_raw(theirs, HEADER_WITHOUT_DESCRIPTORS + b"there is more")
        assert link.imc.imc_recvmsg(link.server).data == b"there is more"


@pytest.mark.parametrize("size", [1, 15])
def test_less_than_a_header_is_malformed_although_the_rest_of_one_lies_there_from_the_message_before(
    link: Link, size: int
) -> None:
    link.imc.imc_sendmsg(link.client, b"before")
    assert link.imc.imc_recvmsg(link.server).data == b"before"
    with raw(link.client) as sock:
        send_raw(sock, HEADER_WITHOUT_DESCRIPTORS[:size])
    with raises(errno.EIO, MalformedMessage):
        link.imc.imc_recvmsg(link.server)


def test_a_packet_of_no_bytes_is_malformed_while_the_peer_lives(link: Link) -> None:
    with raw(link.client) as sock:
        send_raw(sock, b"")
    link.imc.imc_sendmsg(link.client, b"next")
    with raises(errno.EIO, MalformedMessage):
        link.imc.imc_recvmsg(link.server)
    assert link.imc.imc_recvmsg(link.server).data == b"next"


def test_a_packet_of_no_bytes_is_malformed_when_nothing_but_it_was_sent(link: Link) -> None:
    with raw(link.client) as sock:
        send_raw(sock, b"")
    with raises(errno.EIO, MalformedMessage):
        link.imc.imc_recvmsg(link.server)


def test_a_packet_of_no_bytes_does_not_hide_the_data_that_a_dead_peer_left_behind_it(link: Link) -> None:
    with raw(link.client) as sock:
        send_raw(sock, b"")
    link.imc.imc_sendmsg(link.client, b"behind it")
    link.client.close()
    with raises(errno.EIO, MalformedMessage):
        link.imc.imc_recvmsg(link.server)
    assert link.imc.imc_recvmsg(link.server).data == b"behind it"
    with raises(errno.EIO, EndOfStream):
        link.imc.imc_recvmsg(link.server)


def test_a_packet_of_no_bytes_with_a_descriptor_is_malformed_even_as_a_dead_peers_last(link: Link) -> None:
    with raw(link.client) as sock, fds_of("file") as fds:
        send_raw(sock, b"", fds)
    link.client.close()
    before = OpenDescriptors()
    with raises(errno.EIO, MalformedMessage):
        link.imc.imc_recvmsg(link.server)
    assert before.only()
    with raises(errno.EIO, EndOfStream):
        link.imc.imc_recvmsg(link.server)


@pytest.mark.parametrize("count", [1, 9, 253])
def test_descriptors_that_no_tag_tells_of_are_all_closed(link: Link, count: int) -> None:
    with raw(link.client) as sock:
        send_raw(sock, HEADER_WITHOUT_DESCRIPTORS + b"data", [2] * count)
    link.imc.imc_sendmsg(link.client, b"next")
    before = OpenDescriptors()
    with raises(errno.EIO, MalformedMessage):
        link.imc.imc_recvmsg(link.server)
    assert before.only()
    assert link.imc.imc_recvmsg(link.server).data == b"next"


# What may come with each tag of layout 2013: the kinds of fd that pass, and the kind that they arrive as.
PASSES: Final[dict[str, tuple[set[str], type[Descriptor]]]] = {
    "02": ({"file", "memfd", "device"}, HostFile),
    "04": ({"seqpacket pair", "stream pair"}, SocketAddress),
    "070000010000000000": ({"memfd"}, SharedMemory),
    "0d": ({"seqpacket pair"}, DataOnlySocket),
    "0f" + "51" * 16 + "02": ({"file", "memfd", "device"}, HostFile),
}


@pytest.mark.parametrize("kind", FD_KINDS)
@pytest.mark.parametrize("tag", PASSES)
def test_an_fd_that_is_not_what_its_tag_says_is_malformed(tag: str, kind: str) -> None:
    passes, arrives_as = PASSES[tag]
    imc = Imc("socketpair")
    area = bytes.fromhex("02" + tag + "ff")
    area += bytes(-len(area) % 16)
    theirs, ours = seqpacket_pair()
    with theirs, ConnectedSocket(ours.detach()) as receiver, fds_of("file", min(passes), kind) as [file, right, fd]:
        for kind_sent, fd_sent in ((min(passes), right), (kind, fd), (kind, fd)):  # a head that was seen before, too
            message = bytes.fromhex("01dec0d3") + len(area).to_bytes(4, "little") + bytes(8) + area
            send_raw(theirs, message, [file, fd_sent])
            before = OpenDescriptors()
            if kind_sent in passes:
                _, [first, second], _ = imc.imc_recvmsg(receiver)
                with first, second:
                    assert type(second) is arrives_as
            else:
                with raises(errno.EIO, MalformedMessage):
                    imc.imc_recvmsg(receiver)
            assert before.only()


def test_memory_that_is_shorter_than_it_says_is_malformed() -> None:
    imc = Imc("socketpair")
    theirs, ours = seqpacket_pair()
    with theirs, ConnectedSocket(ours.detach()) as receiver, fds_of("memfd") as fds:
        os.ftruncate(fds[0], 65535)
        send_raw(theirs, bytes.fromhex("01dec0d3100000000000000000000000070000010000000000ff000000000000"), fds)
        before = OpenDescriptors()
        with raises(errno.EIO, MalformedMessage):
            imc.imc_recvmsg(receiver)
        assert before.only()


ONE_ADDRESS: Final = bytes.fromhex("01dec0d3100000000000000000000000") + bytes.fromhex("04ff").ljust(16, b"\0")


@pytest.mark.parametrize(
    ("packet", "count"),
    [
        (ONE_ADDRESS, 0),
        (ONE_ADDRESS, 2),
        (ONE_ADDRESS[:31], 1),
        (ONE_ADDRESS[:17], 1),
        (ONE_ADDRESS + bytes(131073), 1),
        (ONE_ADDRESS[:-1] + b"x", 1),
    ],
    ids=["no fd", "two fds", "half an area", "a tag alone", "too much data", "padding that is not zero"],
)
def test_a_message_is_looked_at_although_one_with_its_head_was_good(packet: bytes, count: int) -> None:
    imc = Imc("socketpair")
    theirs, ours = seqpacket_pair()
    with theirs, ConnectedSocket(ours.detach()) as receiver, fds_of("seqpacket pair") as [fd]:
        for _ in range(2):
            send_raw(theirs, ONE_ADDRESS + b"good", [fd])
            data, [address], flags = imc.imc_recvmsg(receiver)
            with address:
                assert (data, type(address), flags) == (b"good", SocketAddress, 0)
            send_raw(theirs, packet, [fd] * count)
            before = OpenDescriptors()
            with raises(errno.EIO, MalformedMessage):
                imc.imc_recvmsg(receiver)
            assert before.only()


def test_more_kinds_of_message_than_are_remembered_are_understood() -> None:
    imc = Imc("socketpair")
    theirs, ours = seqpacket_pair()
    with ConnectedSocket(theirs.detach()) as sender, ConnectedSocket(ours.detach()) as receiver:
        for size in range(65536, 65536 * (HEADS_REMEMBERED + 3), 65536):
            with imc.imc_mem_obj_create(size) as sent:
                imc.imc_sendmsg(sender, b"", (sent,))
            [memory] = imc.imc_recvmsg(receiver).descriptors
            with memory:
                assert isinstance(memory, SharedMemory)
                assert memory.size == size
            assert len(imc._heads_received) <= HEADS_REMEMBERED


def test_descriptors_on_a_data_only_socket_are_malformed(imc: Imc) -> None:
    left, right = imc.imc_socketpair()
    with left, right:
        sender = ConnectedSocket(os.dup(left.fileno()))
        with sender:
            imc.imc_sendmsg(sender, b"x", (INVALID,))
        with raises(errno.EIO, MalformedMessage):
            imc.imc_recvmsg(right)


# What a co-holder of the open file may switch on without harm


@pytest.mark.parametrize(
    "option",
    [socket.SO_PASSCRED, socket.SO_PASSSEC, 29, SO_PASSPIDFD],  # 29: SO_TIMESTAMP, asm-generic/socket.h
    ids=["credentials", "security label", "timestamp", "pidfd"],
)
def test_what_the_kernel_adds_for_a_co_holder_neither_harms_nor_leaks(
    link: Link, one_of: OneOfEach, option: int
) -> None:
    with raw(link.server) as co_holder:
        co_holder.setsockopt(socket.SOL_SOCKET, option, 1)
    before = OpenDescriptors()
    link.imc.imc_sendmsg(link.client, b"plain")
    link.imc.imc_sendmsg(link.client, b"with", (one_of[HostFile],) * 8)
    assert link.imc.imc_recvmsg(link.server) == (b"plain", (), 0)
    data, descriptors, flags = link.imc.imc_recvmsg(link.server)
    assert (data, len(descriptors), flags) == (b"with", 8, 0)
    assert before.only(*descriptors)
    for descriptor in descriptors:
        descriptor.close()
    link.client.close()
    with raises(errno.EIO, EndOfStream):
        link.imc.imc_recvmsg(link.server)


def test_all_that_a_co_holder_can_switch_on_at_once_leaves_room_for_every_descriptor(link: Link) -> None:
    with raw(link.server) as co_holder, raw(link.client) as sock:
        for option in (socket.SO_PASSCRED, socket.SO_PASSSEC, 35, SO_PASSPIDFD):  # 35: SO_TIMESTAMPNS
            co_holder.setsockopt(socket.SOL_SOCKET, option, 1)
        before = OpenDescriptors()
        send_raw(sock, HEADER_WITHOUT_DESCRIPTORS, [2] * 253)
        with raises(errno.EIO, MalformedMessage):  # and not lost: there was room
            link.imc.imc_recvmsg(link.server)
        assert before.only()


# Things to send


@pytest.mark.parametrize("size", [-1, 1, 65535, 65537, -65536])
def test_memory_of_no_whole_pages_is_einval(imc: Imc, size: int) -> None:
    with raises(errno.EINVAL):
        imc.imc_mem_obj_create(size)


@pytest.mark.parametrize("size", [0, 2**63, 2**70])
def test_memory_that_cannot_be_had_is_enomem(imc: Imc, size: int) -> None:
    with raises(errno.ENOMEM):
        imc.imc_mem_obj_create(size)


@in_child
def test_memory_that_the_kernel_refuses_is_enomem(imc: Imc) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
    before = OpenDescriptors()
    with raises(errno.ENOMEM):
        imc.imc_mem_obj_create(131072)
    assert before.only()


def test_memory_is_sealed_and_zeroed(imc: Imc) -> None:
    with imc.imc_mem_obj_create(65536) as memory, memory.map() as mapped:
        assert memory.size == len(mapped) == 65536
        assert mapped[:] == bytes(65536)
        seals = fcntl.fcntl(memory.fileno(), fcntl.F_GET_SEALS)
        assert seals == fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def test_everything_that_is_made_is_close_on_exec(imc: Imc) -> None:
    bound, address = imc.imc_makeboundsock()
    left, right = imc.imc_socketpair()
    memory = imc.imc_mem_obj_create(65536)
    link = connect_and_accept(imc, bound, address)
    for descriptor in (bound, address, left, right, memory, link.client, link.server):
        assert not os.get_inheritable(descriptor.fileno())
        descriptor.close()


# One Imc in several threads


def test_threads_that_share_an_imc_receive_each_their_own_data() -> None:
    imc = Imc("socketpair")

    def talk(letter: bytes) -> int:
        left, right = imc.imc_socketpair()
        with left, right:
            return sum(
                imc.imc_sendmsg(left, letter * 5000) == 5000 and imc.imc_recvmsg(right).data == letter * 5000
                for _ in range(100)
            )

    talks = [Background(lambda letter=letter: talk(letter)) for letter in (b"a", b"b", b"c")]  # type: ignore[misc]
    assert [each.result() for each in talks] == [100, 100, 100]


def test_a_receive_that_waits_has_a_buffer_that_no_other_thread_can_get(link: Link) -> None:
    left, right = link.imc.imc_socketpair()
    with left, right:
        for _ in range(2):  # first with a fresh buffer, then with one that was used before
            waiting = Background(lambda: link.imc.imc_recvmsg(link.server))
            waiting.until_it_waits()
            assert link.imc._rooms == []
            link.imc.imc_sendmsg(left, b"meanwhile")
            assert link.imc.imc_recvmsg(right).data == b"meanwhile"
            link.imc.imc_sendmsg(link.client, b"at last")
            assert waiting.result() == (b"at last", (), 0)
            link.imc._rooms.pop()


def test_a_buffer_that_another_thread_takes_in_between_is_replaced(link: Link) -> None:
    class TakenInBetween(list[Room]):
        def __bool__(self) -> bool:
            return True

    link.imc._rooms = TakenInBetween()
    link.imc.imc_sendmsg(link.client, b"x")
    assert link.imc.imc_recvmsg(link.server).data == b"x"


def test_every_error_is_an_oserror_with_its_number() -> None:
    for error in (ImcError(errno.EINVAL, "why"), EndOfStream("why"), MalformedMessage("why")):
        assert isinstance(error, OSError)
        assert isinstance(error, ImcError)
        assert error.strerror == "why"
    assert EndOfStream("").errno == MalformedMessage("").errno == errno.EIO
