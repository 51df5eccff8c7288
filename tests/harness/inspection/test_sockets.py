"""What the kernel tells of its sockets, of sockets that the test has made."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from harness.hang import Part
from harness.inspection import sockets
from harness.inspection.sockets import unix_sockets

KINDS: Final = (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)


@pytest.fixture
def made() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


@pytest.mark.parametrize("kind", KINDS)
def test_the_ends_of_a_pair_are_each_others_peers_and_what_is_unread_is_counted(
    made: ExitStack, kind: socket.SocketKind
) -> None:
    left, right = map(made.enter_context, socket.socketpair(socket.AF_UNIX, kind))
    left.send(b"hello")
    found = unix_sockets()
    ours, theirs = found[inode(left)], found[inode(right)]
    assert (ours.peer, theirs.peer) == (inode(right), inode(left))
    assert (ours.queued, theirs.queued) == (0, 5)
    assert (ours.unread > 0, theirs.unread) == (True, 0)
    assert ours.type == kind.name.removeprefix("SOCK_")


def test_a_listener_tells_its_name_and_who_waits_to_be_accepted(made: ExitStack) -> None:
    listener, client = (made.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) for _ in "12")
    name = f"\0imclab-test-{os.getpid()}".encode()
    listener.bind(name)
    listener.listen(5)
    client.connect(name)
    found = unix_sockets()[inode(listener)]
    assert (found.listening, found.name, found.queued, found.pending) == (True, name, 1, (inode(client),))
    accepted, _ = listener.accept()
    made.enter_context(accepted)
    found = unix_sockets()[inode(listener)]
    assert (found.queued, found.pending) == (0, ())


def test_an_empty_datagram_shows_at_its_sender(made: ExitStack) -> None:
    receiver, sender = (made.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) for _ in "12")
    name = f"\0imclab-test-{os.getpid()}".encode()
    receiver.bind(name)
    sender.connect(name)
    assert unix_sockets()[inode(sender)].unread == 0
    sender.send(b"")
    found = unix_sockets()
    assert (found[inode(receiver)].queued, found[inode(sender)].unread > 0) == (0, True)
    assert found[inode(sender)].peer == inode(receiver)


def test_more_sockets_than_one_answer_holds_are_all_told(made: ExitStack) -> None:
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(200)]
    ends = [made.enter_context(end) for pair in pairs for end in pair]
    assert {inode(end) for end in ends} <= unix_sockets().keys()


def test_where_they_are_too_many_or_there_is_no_time_to_read_them_all_that_is_noted(
    made: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET):
        made.enter_context(end)
    unseen: set[Part] = set()
    assert unix_sockets(unseen=unseen)
    assert unseen == set()
    assert unix_sockets(time.monotonic() - 1, unseen) == {}
    assert unseen == {Part.SOCKETS}
    monkeypatch.setattr(sockets, "SOCKETS_MAX", 1)
    unseen = set()
    assert unix_sockets(unseen=unseen)
    assert unseen == {Part.SOCKETS}
