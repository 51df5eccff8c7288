"""What travels between programs, and what a stranger can do to it."""

import fcntl
import os
import tempfile
from collections.abc import Callable

import pytest

from sandbox.abi import MEMORY_PAGE
from sandbox.descriptors import INVALID, Descriptor, SharedMemory
from sandbox.errors import EndOfStream, MalformedMessage
from sandbox.programs.messages import Heard, data_of, hear, memory_of, say
from sandbox.transport import send_packet
from tests.sandbox.connections import Link


def test_what_is_said_is_heard(link: Link) -> None:
    with memory_of(link.imc, b"data") as memory:
        say(link.imc, link.client, "kind", {"body": [1, None]}, memory)
    kind, body, descriptors = hear(link.imc, link.server)
    assert (kind, body) == ("kind", {"body": [1, None]})
    assert data_of(descriptors, 4, 4) == b"data"


@pytest.mark.parametrize("data", [b"", b"no JSON", b"[]", b"{}", b'{"a": 1, "b": 2}', b"[" * 100_000, b"9" * 9_999])
def test_what_is_no_message_is_malformed_and_the_next_one_is_heard(data: bytes, link: Link) -> None:
    with memory_of(link.imc, b"") as memory:
        link.imc.imc_sendmsg(link.client, data, (memory,))
    send_packet(link.client.socket, [b"no IMC"])
    say(link.imc, link.client, "next", None)
    for _ in range(2):
        with pytest.raises(MalformedMessage):
            hear(link.imc, link.server)
    assert hear(link.imc, link.server) == Heard("next", None, ())


def test_last_words_are_heard_though_ours_were_not(link: Link) -> None:
    say(link.imc, link.client, "never", "read")
    say(link.imc, link.server, "last", "words")
    link.server.close()
    assert hear(link.imc, link.client) == Heard("last", "words", ())
    with pytest.raises(EndOfStream):
        hear(link.imc, link.client)


@pytest.mark.parametrize("size", [0, 1, MEMORY_PAGE - 1, MEMORY_PAGE, MEMORY_PAGE + 1, 10 * MEMORY_PAGE])
def test_data_of_any_length_lies_in_memory(size: int, link: Link) -> None:
    data = os.urandom(size)
    memory = memory_of(link.imc, data)
    assert memory.size == max(1, -(-size // MEMORY_PAGE)) * MEMORY_PAGE
    assert data_of((memory,), size, size) == data
    assert memory.fileno() == -1


@pytest.mark.parametrize("length", [-1, MEMORY_PAGE + 1, 2**70, 1001, None, "4", 4.0, [4]])
def test_a_length_that_cannot_be_is_malformed(length: object, link: Link) -> None:
    memory = memory_of(link.imc, b"data")
    with pytest.raises(MalformedMessage):
        data_of((memory,), length, 1000)
    assert memory.fileno() == -1


def test_other_descriptors_than_one_memory_are_malformed(link: Link) -> None:
    def make() -> SharedMemory:
        return memory_of(link.imc, b"data")

    wrong: list[tuple[Descriptor, ...]] = [(), (INVALID,), link.imc.imc_socketpair(), (make(), make())]
    for descriptors in wrong:
        with pytest.raises(MalformedMessage):
            data_of(descriptors, 4, 4)


def not_sealed() -> int:
    return os.memfd_create("shrinks")


def not_to_be_written() -> int:
    fd = os.memfd_create("reads", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, MEMORY_PAGE)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE)
    return fd


def open_for_reading() -> int:
    fd = os.memfd_create("reads", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, MEMORY_PAGE)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    reading = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    os.close(fd)
    return reading


def a_file() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@pytest.mark.parametrize("make", [not_sealed, not_to_be_written, open_for_reading, a_file])
def test_a_stranger_s_memory_that_could_do_harm_is_malformed(make: Callable[[], int], link: Link) -> None:
    fd = make()
    if os.fstat(fd).st_size == 0:
        os.ftruncate(fd, MEMORY_PAGE)
    with SharedMemory(fd) as memory:
        say(link.imc, link.client, "memory", 4, memory)
    _, length, descriptors = hear(link.imc, link.server)
    with pytest.raises(MalformedMessage):
        data_of(descriptors, length, 4)
