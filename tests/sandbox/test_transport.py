"""One packet out or in, and the waiting between."""

import array
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from sandbox.descriptors import ConnectedSocket
from sandbox.transport import (
    CONTROL_ROOM,
    discard,
    has_ended,
    milliseconds_until,
    receive_packet,
    send_packet,
    seqpacket_pair,
    wait_until,
)
from tests.kernel import Background, OpenDescriptors
from tests.sandbox.connections import fill
from tests.sandbox.raw import fds_of, raw

Pair = tuple[ConnectedSocket, ConnectedSocket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = map(ConnectedSocket, seqpacket_pair())
    with left, right:
        yield left, right


def test_a_pair_is_two_connected_seqpacket_sockets_close_on_exec_and_blocking(pair: Pair) -> None:
    for end in pair:
        assert not os.get_inheritable(end.fileno())
        assert os.get_blocking(end.fileno())
        with raw(end) as sock:
            assert (sock.family, sock.type) == (socket.AF_UNIX, socket.SOCK_SEQPACKET)


def test_a_packet_arrives_as_it_was_sent_with_its_descriptors_in_order(pair: Pair) -> None:
    left, right = pair
    buffer = bytearray(100)
    with fds_of("file", "pipe", "device") as fds:
        assert send_packet(left.socket, (b"one", memoryview(b"two")), fds) == 6
        packet = receive_packet(right.socket, buffer)
        assert (packet.size, packet.truncated, packet.control_truncated, packet.with_control) == (6, False, False, True)
        assert buffer[:6] == b"onetwo"
        for sent, received in zip(fds, packet.fds, strict=True):
            assert os.path.samestat(os.fstat(sent), os.fstat(received))
            assert not os.get_inheritable(received)
        discard(packet.fds)


def test_a_packet_without_descriptors_brings_no_control_message(pair: Pair) -> None:
    left, right = pair
    send_packet(left.socket, (b"x",))
    assert receive_packet(right.socket, bytearray(1)) == (1, (), False, False, False, 0)


def test_a_packet_longer_than_the_buffer_is_truncated_and_the_next_one_whole(pair: Pair) -> None:
    left, right = pair
    buffer = bytearray(2)
    for data in (b"long", b"ok"):
        send_packet(left.socket, (data,))
    assert receive_packet(right.socket, buffer) == (2, (), True, False, False, 0)
    assert receive_packet(right.socket, buffer) == (2, (), False, False, False, 0)
    assert buffer == b"ok"


def test_there_is_room_for_all_the_descriptors_that_the_kernel_can_send(pair: Pair) -> None:
    left, right = pair
    before = OpenDescriptors()
    send_packet(left.socket, (b"x",), [2] * 253)
    packet = receive_packet(right.socket, bytearray(1))
    assert len(packet.fds) == 253
    assert not packet.control_truncated
    discard(packet.fds)
    assert before.only()
    assert socket.CMSG_SPACE(253 * array.array("i").itemsize) < CONTROL_ROOM


def test_not_now_is_raised_to_those_who_asked_for_it(pair: Pair) -> None:
    left, right = pair
    with pytest.raises(BlockingIOError):
        receive_packet(right.socket, bytearray(1), nonblock=True)
    assert fill(lambda: send_packet(left.socket, (b"x",), nonblock=True)) > 1
    with pytest.raises(BlockingIOError):
        send_packet(left.socket, (b"x",), nonblock=True)


def test_a_send_gives_up_at_its_deadline_and_not_before(pair: Pair) -> None:
    left, _ = pair
    fill(lambda: send_packet(left.socket, (b"x",), nonblock=True))
    started = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        send_packet(left.socket, (b"x",), deadline=started + 0.05)
    assert caught.value.errno == errno.ETIMEDOUT
    assert 0.05 <= time.monotonic() - started + 0.001 < 3


def test_a_send_with_a_deadline_succeeds_once_there_is_room(pair: Pair) -> None:
    left, right = pair
    sent = fill(lambda: send_packet(left.socket, (b"x",), nonblock=True))
    sending = Background(lambda: send_packet(left.socket, (b"y",), deadline=time.monotonic() + 60))
    sending.until_it_waits("poll")
    buffer = bytearray(1)
    for _ in range(sent + 1):
        receive_packet(right.socket, buffer)
    assert sending.result() == 1
    assert buffer == b"y"


def test_a_dead_peer_is_epipe(pair: Pair) -> None:
    left, right = pair
    right.close()
    with pytest.raises(BrokenPipeError):
        send_packet(left.socket, (b"x",))


def test_a_packet_of_no_bytes_is_the_end_once_the_peer_is_gone_and_nothing_is_queued(pair: Pair) -> None:
    left, right = pair
    for data in (b"", b"behind it"):
        send_packet(left.socket, (data,))
    left.close()
    buffer = bytearray(100)
    for size, ended in ((0, False), (9, True), (0, True), (0, True)):
        assert receive_packet(right.socket, buffer).size == size
        assert has_ended(right.socket) is ended


def test_a_packet_of_no_bytes_is_no_end_while_the_peer_lives(pair: Pair) -> None:
    left, right = pair
    send_packet(left.socket, (b"",))
    assert receive_packet(right.socket, bytearray(1)).size == 0
    assert not has_ended(right.socket)


def test_a_hang_up_ends_the_waiting_and_so_does_the_deadline(pair: Pair) -> None:
    left, right = pair
    with pytest.raises(TimeoutError):
        wait_until(right.socket, select.POLLIN, time.monotonic() - 1)
    waiting = Background(lambda: wait_until(right.socket, select.POLLIN, None))
    waiting.until_it_waits("poll")
    left.close()
    waiting.result()


def test_a_deadline_in_the_past_is_no_time_and_not_for_ever() -> None:
    assert milliseconds_until(time.monotonic() - 5) == 0
    assert 4000 < milliseconds_until(time.monotonic() + 5) <= 5000


def test_what_nobody_wants_is_closed_at_once_however_long_its_sender_made_it_linger() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        receiver, _ = server.accept()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 20))
    for _ in range(1000):
        try:
            sender.send(bytes(65536), socket.MSG_DONTWAIT)
        except BlockingIOError:
            break
    began = time.monotonic()
    discard([sender.detach()])
    assert time.monotonic() - began < 5
    receiver.close()


def test_all_that_nobody_wants_is_closed_even_where_one_close_fails() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    discard([reader, writer])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(writer)
