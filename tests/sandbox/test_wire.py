"""The codec: its one form for each message, and nothing but MalformedMessage for the rest."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.abi import USER_BYTES_MAX
from sandbox.errors import MalformedMessage
from sandbox.wire import (
    AREA_BYTES_MAX,
    HEADER_WITHOUT_DESCRIPTORS,
    LAYOUTS,
    RECEIVE_BYTES,
    Entry,
    Kind,
    decode,
    encode,
    is_token,
)
from tests.sandbox import strategies
from tests.sandbox.vectors import MESSAGES, Vector

MAGIC = bytes.fromhex("01dec0d3")
TOKEN = b"gGszUNP4ofObmsUOx6hjKVZu3fb"

every_layout = pytest.mark.parametrize("layout", LAYOUTS)
every_message = pytest.mark.parametrize("vector", MESSAGES, ids=str)


def packet_of(area: bytes, data: bytes = b"") -> bytes:
    return MAGIC + struct.pack("<I", len(area)) + bytes(8) + area + data


@every_message
def test_native_clients_own_messages_are_encoded_byte_for_byte(vector: Vector) -> None:
    assert encode(LAYOUTS[vector.layout], vector.entries) + vector.data == vector.packet


@every_message
def test_native_clients_own_messages_are_decoded(vector: Vector) -> None:
    entries, data_offset = decode(LAYOUTS[vector.layout], vector.packet)
    assert entries == vector.entries
    assert vector.packet[data_offset:] == vector.data


@every_layout
@given(data=st.data(), user_data=st.binary(max_size=100))
def test_what_was_encoded_decodes_to_itself(layout: str, data: st.DataObject, user_data: bytes) -> None:
    entries = data.draw(strategies.entries(layout))
    packet = encode(LAYOUTS[layout], entries) + user_data
    decoded, data_offset = decode(LAYOUTS[layout], packet)
    assert decoded == tuple(entries)
    assert packet[data_offset:] == user_data


@every_layout
@given(data=st.data())
def test_whatever_decodes_has_this_one_form_and_the_rest_is_malformed(layout: str, data: st.DataObject) -> None:
    packet = data.draw(strategies.packets(layout))
    try:
        entries, data_offset = decode(LAYOUTS[layout], packet)
    except MalformedMessage:
        return
    assert encode(LAYOUTS[layout], entries) + packet[data_offset:] == packet


@every_layout
@given(packet=st.binary(max_size=300))
@example(packet=b"")
@example(packet=packet_of(b""))
def test_a_memoryview_decodes_as_bytes_do(layout: str, packet: bytes) -> None:
    outcomes = []
    for form in (packet, memoryview(bytearray(packet))):
        try:
            outcomes.append(str(decode(LAYOUTS[layout], form)))
        except MalformedMessage as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("area", "why"),
    [
        (b"\xff" + bytes(15), "no descriptor, so no area"),
        (b"\x00\xff" + bytes(13), "no multiple of 16"),
        (b"\x00\xff" + bytes(30), "more padding than needed"),
        (b"\x00\xff" + bytes(13) + b"\x01", "padding that is not zero"),
        (b"\x00" * 9 + b"\xff" + bytes(6), "nine descriptors"),
        (b"\x00" * 8 + bytes(8), "no end tag"),
        (b"\x02" * 16, "no end tag, and no room for one"),
        (b"\x01\xff" + bytes(14), "an unknown tag"),
        (b"\xfe\xff" + bytes(14), "an unknown tag"),
        (b"\x05\xff" + bytes(14), "a BoundSocket"),
        (b"\x0e\xff" + bytes(14), "a ConnectedSocket"),
        (b"\x06\xff" + bytes(14), "an abstract connected socket"),
        (b"\x0c\xff" + bytes(14), "a sync socket"),
        (b"\x03" + TOKEN + b"\0\xff" + bytes(2), "a token address"),
        (b"\x07" + struct.pack("<q", 0) + b"\xff" + bytes(6), "memory of no bytes"),
        (b"\x07" + struct.pack("<q", -65536) + b"\xff" + bytes(6), "memory of less than no bytes"),
        (b"\x07" + struct.pack("<q", 65535) + b"\xff" + bytes(6), "memory of a broken page"),
        (b"\x07" + bytes(7), "memory whose size is cut off"),
        (b"\x0f" + bytes(15), "a quota id that is cut off"),
        (b"\x0f" + bytes(16) + b"\x07\xff" + bytes(13), "a quota wrapper around something else than a host file"),
        (b"\x0f" + bytes(16) + b"\x0f\xff" + bytes(13), "a quota wrapper around a quota wrapper"),
    ],
)
def test_an_area_that_is_not_exactly_in_the_form_is_malformed_in_2013(area: bytes, why: str) -> None:
    with pytest.raises(MalformedMessage):
        decode(LAYOUTS["2013"], packet_of(area, b"data"))
    assert why


@pytest.mark.parametrize(
    "area",
    [
        b"\x04\xff" + bytes(14),  # 2010's BoundSocket
        b"\x05\xff" + bytes(14),
        b"\x0b\xff" + bytes(14),
        b"\x0d\xff" + bytes(14),
        b"\x0f" + bytes(16) + b"\x02\xff" + bytes(13),
        b"\x03" + TOKEN + b"x\xff" + bytes(2),
        b"\x03" + TOKEN[:-1] + b"-\0\xff" + bytes(2),
        b"\x03" + TOKEN[:-1] + b"\0\0\xff" + bytes(2),
    ],
)
def test_what_2010_does_not_know_is_malformed_there(area: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(LAYOUTS["2010"], packet_of(area))


@pytest.mark.parametrize(
    "area",
    [
        b"\x04\x01\0\0\0\xff" + bytes(10),
        b"\x04\xff" + bytes(14),
        b"\x0d\0\0\0\x80\xff" + bytes(10),
        b"\x02" + bytes(4) + b"\x01\0\0\0\xff" + bytes(6),
        b"\x02\x01" + bytes(7) + b"\xff" + bytes(6),
        b"\x07" + bytes(4) + struct.pack("<q", 65536) + b"\xff" + bytes(2),
        b"\x0f" + bytes(4) + bytes(16) + b"\x02" + bytes(8) + b"\xff" + bytes(2),
        b"\x03" + bytes(4) + TOKEN + b"\0\xff" + bytes(14),
    ],
)
def test_flags_of_recent_other_than_those_that_it_writes_are_malformed(area: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(LAYOUTS["recent"], packet_of(area))


@pytest.mark.parametrize("byte", range(16))
def test_no_byte_of_the_header_may_differ(byte: int) -> None:
    header = bytearray(HEADER_WITHOUT_DESCRIPTORS)
    header[byte] ^= 0x80
    with pytest.raises(MalformedMessage):
        decode(LAYOUTS["2013"], bytes(header) + b"data")


@every_layout
def test_data_may_be_as_long_as_the_limit_and_no_longer(layout: str) -> None:
    whole = HEADER_WITHOUT_DESCRIPTORS + bytes(USER_BYTES_MAX)
    assert decode(LAYOUTS[layout], whole) == ((), 16)
    with pytest.raises(MalformedMessage):
        decode(LAYOUTS[layout], whole + b"x")


@every_layout
def test_the_room_that_is_received_into_shows_every_message_that_is_too_long(layout: str) -> None:
    kinds = [form.kind for form in LAYOUTS[layout].forms.values()]
    longest = max(len(encode(LAYOUTS[layout], [example_entry(kind)] * 8)) for kind in kinds)
    assert longest - 16 <= AREA_BYTES_MAX
    assert longest + USER_BYTES_MAX < RECEIVE_BYTES


def example_entry(kind: Kind) -> Entry:
    return Entry(kind, size=65536, token=TOKEN, quota_id=bytes(16))


@pytest.mark.parametrize(
    ("layout", "kind"),
    [
        ("2010", Kind.ADDRESS),
        ("2010", Kind.QUOTA_HOST_FILE),
        ("2013", Kind.TOKEN_ADDRESS),
        ("recent", Kind.TOKEN_ADDRESS),
        ("recent", Kind.QUOTA_HOST_FILE),
    ],
)
def test_a_kind_that_the_layout_cannot_say_is_a_key_error(layout: str, kind: Kind) -> None:
    with pytest.raises(KeyError) as caught:
        encode(LAYOUTS[layout], [Entry(kind)])
    assert caught.value.args == (kind,)


@given(strategies.tokens)
def test_a_token_is_27_letters_and_digits_and_a_nul(token: bytes) -> None:
    assert is_token(token + b"\0")
    assert not is_token(token)
    assert not is_token(token + b"\0\0")
    assert not is_token(token[1:] + b"\0")
    assert not is_token(token[1:] + b"\0\0")
    assert not is_token(token + b"a")
    assert not is_token(b"_" + token[1:] + b"\0")
