"""Ownership: who closes an fd, and when."""

import errno
import fcntl
import gc
import os
import socket
import tempfile
from pathlib import Path

import pytest

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
from sandbox.errors import ImcError
from sandbox.imc import Imc
from tests.kernel import OpenDescriptors, open_files
from tests.sandbox.raw import fds_of

KINDS = [SocketAddress, BoundSocket, ConnectedSocket, DataOnlySocket, HostFile, SharedMemory]

every_kind = pytest.mark.parametrize("kind", KINDS)


def adopted(kind: type[Descriptor]) -> Descriptor:
    """Return a descriptor of `kind` over one end of a pair whose other end is closed."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    right.close()
    return kind(left.detach())


@every_kind
def test_an_adopted_fd_is_closed_with_its_descriptor(kind: type[Descriptor], open_descriptors: OpenDescriptors) -> None:
    descriptor = adopted(kind)
    assert open_descriptors.only(descriptor)
    descriptor.close()
    assert open_descriptors.only()
    assert descriptor.fileno() == -1


@every_kind
def test_a_second_close_does_not_close_whoever_has_the_number_now(kind: type[Descriptor]) -> None:
    descriptor = adopted(kind)
    number = descriptor.fileno()
    descriptor.close()
    os.dup2(2, number)
    descriptor.close()
    del descriptor
    gc.collect()
    os.close(number)  # EBADF, had it been closed


@every_kind
def test_with_closes_at_its_end_and_after_an_exception(kind: type[Descriptor]) -> None:
    with adopted(kind) as descriptor:
        assert descriptor.fileno() in open_files()
    assert descriptor.fileno() == -1
    with pytest.raises(ZeroDivisionError), adopted(kind) as descriptor:
        raise ZeroDivisionError
    assert descriptor.fileno() == -1


@every_kind
def test_what_is_taken_belongs_to_the_taker(kind: type[Descriptor], open_descriptors: OpenDescriptors) -> None:
    descriptor = adopted(kind)
    fd = descriptor.take()
    assert descriptor.fileno() == -1
    assert descriptor.take() == -1
    descriptor.close()
    del descriptor
    gc.collect()
    assert open_descriptors.new().keys() == {fd}
    os.close(fd)


@every_kind
def test_what_is_collected_without_a_close_is_closed(kind: type[Descriptor], open_descriptors: OpenDescriptors) -> None:
    descriptor = adopted(kind)
    del descriptor
    assert open_descriptors.only()


@every_kind
def test_adopting_leaves_the_flags_of_the_open_file_alone(kind: type[Descriptor]) -> None:
    with adopted(kind) as descriptor:
        assert os.get_blocking(descriptor.fileno())


@every_kind
def test_a_descriptor_shows_its_kind_and_number(kind: type[Descriptor]) -> None:
    with adopted(kind) as descriptor:
        assert repr(descriptor) == f"{kind.__name__}({descriptor.fileno()})"


@pytest.mark.parametrize("kind", [BoundSocket, ConnectedSocket, DataOnlySocket])
def test_adopting_what_is_no_socket_fails_and_leaves_the_fd_with_the_caller(kind: type[Descriptor]) -> None:
    with fds_of("file") as [fd]:
        with pytest.raises(OSError, match="non-socket"):
            kind(fd)
        gc.collect()
        os.fstat(fd)


def test_adopting_with_a_bad_quota_id_fails_and_leaves_the_fd_with_the_caller() -> None:
    with fds_of("file") as [fd]:
        with pytest.raises(ValueError, match="16 bytes"):
            HostFile(fd, b"short")
        gc.collect()
        os.fstat(fd)


def test_adopting_memory_that_is_not_there_fails_and_closes_nothing() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        SharedMemory(2**20)
    gc.collect()


def test_the_way_of_an_address_goes_with_it() -> None:
    with adopted(SocketAddress) as address:
        assert isinstance(address, SocketAddress)
        assert address.way is not None
        assert address.way.fileno() == address.fileno() >= 0
        fd = address.take()
        assert (address.way.fileno(), address.fileno()) == (-1, -1)
        assert fd in open_files()
        os.close(fd)


def test_an_address_that_is_a_memfd_has_no_way_and_closes_all_the_same() -> None:
    fd = os.memfd_create("token")
    with SocketAddress(fd) as address:
        assert address.way is None
        assert address.fileno() == fd
    assert fd not in open_files()


def test_the_invalid_descriptor_is_minus_one() -> None:
    assert INVALID == -1
    assert type(INVALID)() == INVALID
    assert INVALID != 0
    assert hash(INVALID) == hash(-1)
    assert {INVALID: "here"}[-1] == "here"  # type: ignore[index]
    assert INVALID.fileno() == -1
    assert repr(INVALID) == "INVALID"
    with INVALID:
        INVALID.close()


def test_duplicates_of_an_address_have_one_identity(imc: Imc) -> None:
    bound, address = imc.imc_makeboundsock()
    other_bound, other = imc.imc_makeboundsock()
    with bound, address, other_bound, other, SocketAddress(os.dup(address.fileno())) as duplicate:
        assert duplicate.identity() == address.identity()
        assert other.identity() != address.identity()


def test_the_identity_of_a_token_address_is_its_token() -> None:
    imc = Imc("stream", choose_token=lambda: "T" * 27)
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        assert address.identity() == "token:" + "T" * 27


def test_a_host_file_is_read_and_written_at_its_position() -> None:
    with tempfile.TemporaryFile() as file, HostFile(os.dup(file.fileno())) as host_file:
        assert host_file.write(b"some words") == 10
        file.seek(0)
        assert host_file.read(4) == b"some"
        assert host_file.read(100) == b" words"
        assert host_file.read(100) == b""


def test_a_host_file_keeps_the_mode_that_it_was_opened_with(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with HostFile(os.open(path, os.O_RDONLY)) as host_file:
        with pytest.raises(OSError, match="Bad file descriptor"):
            host_file.write(b"y")
        assert host_file.read(1) == b"x"


def test_both_maps_of_shared_memory_see_the_same_bytes() -> None:
    with Imc("socketpair").imc_mem_obj_create(131072) as memory:
        with memory.map() as one, memory.map() as other:
            assert len(one) == memory.size == 131072
            assert one[:] == bytes(131072)
            one[:5] = b"hello"
            assert other[:5] == b"hello"
        with SharedMemory(os.dup(memory.fileno())) as adopted_memory:
            assert adopted_memory.size == 131072


def test_a_map_outlives_its_descriptor() -> None:
    memory = Imc("socketpair").imc_mem_obj_create(65536)
    mapped = memory.map()
    with memory, mapped:
        memory.close()
        mapped[0] = 1
        with pytest.raises(ImcError) as caught:
            memory.map()
    assert caught.value.errno == errno.EBADF


def test_the_size_of_shared_memory_is_sealed() -> None:
    with Imc("socketpair").imc_mem_obj_create(65536) as memory:
        for size in (0, 65535, 65537, 131072):
            with pytest.raises(PermissionError):
                os.ftruncate(memory.fileno(), size)
        with pytest.raises(PermissionError):
            fcntl.fcntl(memory.fileno(), fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
