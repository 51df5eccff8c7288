"""Which fd may pass for which kind of descriptor."""

import _socket
import os
import socket
from collections.abc import Callable

import pytest

from sandbox import vetting
from sandbox.errors import MalformedMessage
from tests.sandbox.raw import FD_KINDS, fds_of


def given_back(sock: _socket.socket) -> None:
    """Leave the fd of an accepted socket open."""
    sock.detach()


ACCEPTED: dict[str, set[str]] = {
    "address": {"seqpacket pair", "stream pair"},
    "connection": {"seqpacket pair"},
    "host file": {"file", "memfd", "device"},
    "memory": {"memfd"},
}
VETTING: dict[str, Callable[[int], None]] = {
    "address": lambda fd: given_back(vetting.connected_over(fd, "address", vetting.ADDRESS_TYPES)),
    "connection": lambda fd: given_back(vetting.connected_over(fd, "connection", vetting.MESSAGE_TYPES)),
    "host file": vetting.require_host_file,
    "memory": lambda fd: vetting.require_memory(fd, 65536),
}


@pytest.mark.parametrize("kind", FD_KINDS)
@pytest.mark.parametrize("role", VETTING)
def test_each_role_is_open_to_its_kinds_alone(role: str, kind: str) -> None:
    with fds_of(kind) as [fd]:
        if kind in ACCEPTED[role]:
            VETTING[role](fd)
        else:
            with pytest.raises(MalformedMessage):
                VETTING[role](fd)
        os.fstat(fd)  # still the caller's, and still open


@pytest.mark.parametrize("role", ["address", "connection"])
def test_a_pair_whose_other_end_is_closed_is_still_a_pair(role: str) -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    right.close()
    with left:
        VETTING[role](left.fileno())


@pytest.mark.parametrize("role", ["address", "connection"])
def test_a_socket_that_connected_to_a_name_is_a_pair_too(role: str) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client,
    ):
        listener.bind("")
        listener.listen()
        client.connect(listener.getsockname())
        server, _ = listener.accept()
        with server:
            VETTING[role](client.fileno())
            VETTING[role](server.fileno())


def test_memory_is_at_least_as_long_as_it_says() -> None:
    with fds_of("memfd") as [fd]:
        vetting.require_memory(fd, 65536)
        with pytest.raises(MalformedMessage):
            vetting.require_memory(fd, 131072)


@pytest.mark.parametrize("role", ["host file", "memory"])
def test_a_mere_name_of_a_file_is_no_file(role: str) -> None:
    with fds_of("memfd") as [fd]:
        name = os.open(f"/proc/self/fd/{fd}", os.O_PATH)
        try:
            with pytest.raises(MalformedMessage):
                VETTING[role](name)
        finally:
            os.close(name)


def test_vetting_leaves_the_flags_of_the_open_file_alone() -> None:
    with fds_of("seqpacket pair") as [fd]:
        given_back(vetting.connected_over(fd, "address", vetting.ADDRESS_TYPES))
        assert os.get_blocking(fd)
