"""Native Client's own messages, right and wrong, through real sends and receives."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import pytest

from sandbox.descriptors import (
    INVALID,
    ConnectedSocket,
    DataOnlySocket,
    Descriptor,
    HostFile,
    SocketAddress,
)
from sandbox.errors import EndOfStream, ImcError, MalformedMessage
from sandbox.imc import Imc
from sandbox.protocols import address_of_token
from sandbox.wire import Entry, Kind
from tests.kernel import OpenDescriptors
from tests.sandbox.raw import fds_of, received_raw, send_raw, seqpacket_pair
from tests.sandbox.vectors import MEANING, MEANING_2010, MESSAGES, UNFRAMED, Vector, load, messages

PROTOCOL_OF: Final = {"2010": "stream", "2013": "socketpair", "recent": "socketpair"}
FD_KIND_OF: Final = {
    Kind.ADDRESS: "seqpacket pair",
    Kind.DATA_ONLY_SOCKET: "seqpacket pair",
    Kind.SHARED_MEMORY: "memfd",
    Kind.HOST_FILE: "device",
    Kind.QUOTA_HOST_FILE: "device",
}

every_message = pytest.mark.parametrize("vector", MESSAGES, ids=str)


def imc_for(layout: str) -> Imc:
    return Imc(PROTOCOL_OF[layout], layout)


def descriptor_of(entry: Entry, fd: int) -> Descriptor:
    """Return what a program would send for `entry`, over a duplicate of `fd`."""
    match entry.kind:
        case Kind.TOKEN_ADDRESS:
            return address_of_token(entry.token)
        case Kind.ADDRESS:
            return SocketAddress(os.dup(fd))
        case Kind.DATA_ONLY_SOCKET:
            return DataOnlySocket(os.dup(fd))
        case Kind.SHARED_MEMORY:
            return Imc("socketpair").imc_mem_obj_create(entry.size)
        case _:
            return HostFile(os.dup(fd), entry.quota_id or None)


def fds_for(entries: Sequence[Entry]) -> list[str]:
    return [FD_KIND_OF[entry.kind] for entry in entries if entry.kind in FD_KIND_OF]


@contextmanager
def descriptors_of(entries: Sequence[Entry]) -> Iterator[list[Descriptor]]:
    with fds_of("device", "seqpacket pair") as (device, pair), ExitStack() as stack:
        descriptors: list[Descriptor] = []
        for entry in entries:
            if entry.kind is Kind.INVALID:
                descriptors.append(INVALID)
            else:
                fd = pair if FD_KIND_OF.get(entry.kind) == "seqpacket pair" else device
                descriptors.append(stack.enter_context(descriptor_of(entry, fd)))
        yield descriptors


def test_every_vector_of_each_layout_has_a_meaning_here() -> None:
    for layout, meaning in ("2010", MEANING_2010), ("2013", MEANING), ("recent", MEANING):
        assert {vector.name for vector in messages(layout)} <= meaning.keys()
    names = {raw["name"] for layout in ("2010", "2013", "recent") for raw in load(f"messages_{layout}")}
    assert names == MEANING.keys() | UNFRAMED


@every_message
def test_what_is_sent_is_byte_for_byte_what_native_client_sends(vector: Vector) -> None:
    theirs, ours = seqpacket_pair()
    with theirs, ConnectedSocket(ours.detach()) as ours_connected, descriptors_of(vector.entries) as descriptors:
        assert imc_for(vector.layout).imc_sendmsg(ours_connected, vector.data, descriptors) == len(vector.data)
        with received_raw(theirs) as packet:
            assert packet.data == vector.packet
            assert len(packet.fds) == vector.fds
            with_fd = [descriptor for descriptor in descriptors if descriptor is not INVALID]
            for fd, descriptor in zip(packet.fds, with_fd, strict=bool(vector.fds)):
                assert os.path.samestat(os.fstat(fd), os.fstat(descriptor.fileno()))


@every_message
def test_what_native_client_sends_is_received(vector: Vector) -> None:
    theirs, ours = seqpacket_pair()
    with (
        theirs,
        ConnectedSocket(ours.detach()) as ours_connected,
        fds_of(*fds_for(vector.entries)) as fds,
        descriptors_of(vector.entries) as expected,
        ExitStack() as stack,
    ):
        assert len(fds) == vector.fds
        send_raw(theirs, vector.packet, fds)
        data, descriptors, flags = imc_for(vector.layout).imc_recvmsg(ours_connected)
        for descriptor in descriptors:
            stack.enter_context(descriptor)
        assert (data, flags) == (vector.data, 0)
        assert [type(descriptor) for descriptor in descriptors] == [type(descriptor) for descriptor in expected]
        for entry, descriptor in zip(vector.entries, descriptors, strict=True):
            match entry.kind:
                case Kind.TOKEN_ADDRESS:
                    assert isinstance(descriptor, SocketAddress)
                    assert descriptor.identity() == f"token:{entry.token.decode()}"
                case Kind.QUOTA_HOST_FILE | Kind.HOST_FILE:
                    assert isinstance(descriptor, HostFile)
                    assert descriptor.quota_id == (entry.quota_id or None)
                case Kind.SHARED_MEMORY:
                    assert getattr(descriptor, "size", 0) == entry.size
        received_fds = [descriptor.fileno() for descriptor in descriptors if descriptor is not INVALID]
        for sent, received in zip(fds, received_fds, strict=bool(fds)):
            assert os.path.samestat(os.fstat(sent), os.fstat(received))
            assert not os.get_inheritable(received)


# A vector's fds are of the kind that its tag says; these are what each of them comes with.
FDS_OF_MALFORMED: Final[dict[str, list[str]]] = {
    "wrong_magic": [],
    "short_15": [],
    "ddb_too_large": [],
    "unknown_tag_20": [],
    "tag_without_handle_addr": [],
    "shm_negative_size": ["memfd"],
    "extra_handles": ["seqpacket pair"] * 3,
    "missing_end_tag_pad0": ["seqpacket pair"],
    "nine_invalid": [],
    "garbage_after_end_tag": [],
    "nontransferable_tag_bound": ["seqpacket pair"],
    "handle_wrong_kind_shm_is_socket": ["seqpacket pair"],
    "dataonly_with_fds": ["device"],
}
CONTROLS: Final = {"good_addr1", "data_truncation", "desc_truncation", "eof", "nonblock_empty"}
BY_NAME: Final[dict[str, dict[str, Any]]] = {raw["name"]: raw for raw in load("malformed_2013")}


@contextmanager
def receiver_of(vector: dict[str, Any], fd_kinds: Sequence[str]) -> Iterator[ConnectedSocket | DataOnlySocket]:
    """Yield a socket that the vector waits at, with a good message behind it."""
    theirs, ours = seqpacket_pair()
    kind = DataOnlySocket if vector["channel"] == "data" else ConnectedSocket
    with theirs, kind(ours.detach()) as receiver, fds_of(*fd_kinds) as fds:
        assert len(fds) == vector["n_fds"]
        send_raw(theirs, bytes.fromhex(vector["data_hex"]), fds)
        Imc("socketpair").imc_sendmsg(ConnectedSocket(os.dup(theirs.fileno())), b"the next one")
        yield receiver


def test_every_malformed_vector_is_tried() -> None:
    assert BY_NAME.keys() == FDS_OF_MALFORMED.keys() | CONTROLS


@pytest.mark.parametrize("name", FDS_OF_MALFORMED)
def test_a_malformed_message_is_eio_and_costs_neither_descriptors_nor_the_connection(
    name: str, open_descriptors: OpenDescriptors
) -> None:
    imc = Imc("socketpair")
    with receiver_of(BY_NAME[name], FDS_OF_MALFORMED[name]) as receiver:
        before = OpenDescriptors()
        with pytest.raises(MalformedMessage) as caught:
            imc.imc_recvmsg(receiver)
        assert caught.value.errno == errno.EIO
        assert before.only()
        assert imc.imc_recvmsg(receiver).data == b"the next one"
    assert open_descriptors.only()


def test_a_well_formed_message_is_received_by_the_same_means() -> None:
    with receiver_of(BY_NAME["good_addr1"], ["seqpacket pair"]) as receiver:
        data, [address], flags = Imc("socketpair").imc_recvmsg(receiver)
        with address:
            assert isinstance(address, SocketAddress)
        assert (data, flags) == (b"ok", 0)


def test_data_that_does_not_fit_is_dropped_and_flag_1_says_so() -> None:
    vector = BY_NAME["data_truncation"]
    with receiver_of(vector, []) as receiver:
        assert Imc("socketpair").imc_recvmsg(receiver, vector["recv_size"]) == (b"0123", (), 1)
        assert Imc("socketpair").imc_recvmsg(receiver).data == b"the next one"


def test_descriptors_that_do_not_fit_are_closed_and_flag_2_says_so() -> None:
    vector = BY_NAME["desc_truncation"]
    with receiver_of(vector, ["seqpacket pair"] * 2) as receiver:
        before = OpenDescriptors()
        data, [address], flags = Imc("socketpair").imc_recvmsg(receiver, max_descriptors=vector["max_descs"])
        with address:
            assert before.only(address)
        assert (data, flags) == (b"foo", 2)
        assert Imc("socketpair").imc_recvmsg(receiver).data == b"the next one"


def test_the_end_of_the_stream_is_eio() -> None:
    theirs, ours = seqpacket_pair()
    theirs.close()
    with ConnectedSocket(ours.detach()) as receiver, pytest.raises(EndOfStream) as caught:
        Imc("socketpair").imc_recvmsg(receiver)
    assert errno.errorcode[caught.value.errno or 0] == BY_NAME["eof"]["errno_name"]


def test_nothing_there_is_eagain_with_nonblock() -> None:
    theirs, ours = seqpacket_pair()
    with theirs, ConnectedSocket(ours.detach()) as receiver, pytest.raises(ImcError) as caught:
        Imc("socketpair").imc_recvmsg(receiver, flags=BY_NAME["nonblock_empty"]["recv_flags"])
    assert errno.errorcode[caught.value.errno or 0] == BY_NAME["nonblock_empty"]["errno_name"]
