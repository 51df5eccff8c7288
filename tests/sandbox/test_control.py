"""The JSON messages of the control channel: what is packed is unpacked, and no bytes are more than a ValueError."""

import base64
import hashlib
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.abi import USER_BYTES_MAX
from sandbox.control import HEAD_BYTES, decode, digest, encode, generated, pack_data, unpack_data

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.text(), JSON)
def test_what_is_encoded_is_decoded_again(kind: str, body: Any) -> None:
    assert decode(encode(kind, body)) == (kind, body)


@given(st.text(), JSON)
def test_a_message_begins_with_a_brace_and_is_one_line_of_ascii(kind: str, body: Any) -> None:
    message = encode(kind, body)
    assert message.startswith(b"{")
    assert message.isascii()
    assert b"\n" not in message


@given(st.binary() | JSON.map(json.dumps).map(str.encode))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"a": ' + b"9" * 10_000 + b"}")
@example(b"\xff")
@example(b"\xef\xbb\xbf{}")
def test_whatever_the_bytes_they_are_a_message_or_a_value_error(data: bytes) -> None:
    try:
        kind, _ = decode(data)
    except ValueError:
        return
    assert isinstance(kind, str)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"5", b'"a"', b"null", b'{"a":1,"b":2}', b'{"a":1} x', b"{"])
def test_what_is_no_object_with_one_member_is_no_message(data: bytes) -> None:
    with pytest.raises(ValueError, match="no JSON"):
        decode(data)


@pytest.mark.parametrize("body", [float("nan"), float("inf"), {"x": float("-inf")}])
def test_a_number_that_json_lacks_is_not_encoded(body: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode("report", body)


@pytest.mark.parametrize("body", [b"", {1, 2}, object()])
def test_what_json_lacks_is_not_encoded(body: object) -> None:
    with pytest.raises(TypeError):
        encode("report", body)


@given(st.binary())
def test_bytes_that_were_packed_are_the_same_bytes(data: bytes) -> None:
    assert unpack_data(json.loads(json.dumps(pack_data(data)))) == data


@given(st.integers(0, 3000))
def test_a_size_that_was_packed_stands_for_so_many_generated_bytes(size: int) -> None:
    assert unpack_data(json.loads(json.dumps(pack_data(size)))) == generated(size)
    assert len(generated(size)) == size
    assert generated(3000).startswith(generated(size))


def test_generated_bytes_show_where_they_were_shifted_or_cut() -> None:
    data = generated(2000)
    # A block that was lost, doubled or moved by any power of two does not go unseen.
    assert all(data[shift:] != data[: len(data) - shift] for shift in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024))


@given(st.binary(max_size=2 * HEAD_BYTES))
@example(generated(HEAD_BYTES))
@example(generated(HEAD_BYTES + 1))
def test_a_digest_tells_size_hash_and_beginning(data: bytes) -> None:
    told = digest(data)
    assert told["size"] == len(data)
    assert told["sha256"] == hashlib.sha256(data).hexdigest()
    assert base64.b64decode(told["head"]) == data[:HEAD_BYTES]


def test_no_result_outgrows_the_channel() -> None:
    assert len(encode("result", {"data": digest(generated(USER_BYTES_MAX))})) < USER_BYTES_MAX
