"""Whether a step's result is what was expected, and what is no result at all. A worker may answer anything."""

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.scenario import difference, printable
from harness.topology.steps import ExpectMessage, ExpectResult, ExpectSent
from sandbox.control import digest, generated

GOOD: dict[str, Any] = {"error": None}


def expected_data(data: Any, **more: Any) -> ExpectMessage:
    """Return the expectation of this data, as a file would say it."""
    return ExpectMessage.model_validate({"data": data, **more})


def received(data: bytes = b"", *kinds: str, flags: int = 0) -> dict[str, Any]:
    """Return the result of a recvmsg."""
    descriptors = [{"kind": kind} for kind in kinds]
    return GOOD | {"data": digest(data), "descriptors": descriptors, "flags": flags}


def refused(error: str, detail: str = "so it is") -> dict[str, Any]:
    """Return the result of a step that failed."""
    return {"error": error, "detail": detail}


LONG = generated(200)
LONG_A = f"'{'a' * 60}'…"

# What is expected, what came, and how that differs: None where it does not.
DIFFERENCES: list[tuple[ExpectResult, dict[str, Any], str | None]] = [
    (ExpectResult(), GOOD, None),
    (ExpectResult(), refused("EIO"), "expected success, got EIO (so it is)"),
    (ExpectResult(), refused("EIO", ""), "expected success, got EIO"),
    (ExpectResult(error="EIO"), refused("EIO"), None),
    (ExpectResult(error="EIO"), refused("EINVAL"), "expected EIO, got EINVAL (so it is)"),
    (ExpectResult(error="EIO"), GOOD, "expected EIO, got success"),
    (ExpectSent(sent=3), GOOD | {"sent": 3}, None),
    (ExpectSent(sent=3), GOOD | {"sent": 2}, "expected sent 3, got 2"),
    (ExpectSent(sent=0), GOOD, "expected sent 0, got none"),
    (ExpectSent(), GOOD | {"sent": 2}, None),
    (ExpectMessage(), received(b"hi", "SocketAddress", flags=3), None),
    (expected_data(b"hi"), received(b"hi", "SocketAddress"), None),
    (expected_data(b"hi"), received(b"ho"), "expected data 'hi' (2 bytes), got 'ho' (2 bytes)"),
    (expected_data(b""), received(b"\xff"), r"expected data '' (0 bytes), got '\\xff' (1 bytes)"),
    (expected_data({"size": 200}), received(LONG), None),
    (expected_data(LONG), received(LONG), None),
    (expected_data({"size": 131_072}), received(generated(131_072)), None),
    (expected_data(b"a" * 200), received(b"a" * 150 + b"b" * 50),
     f"expected data {LONG_A} (200 bytes), got {LONG_A} (200 bytes): they differ from byte 150 on"),
    (expected_data(b"a" * 5000), received(b"a" * 4999 + b"b"),
     f"expected data {LONG_A} (5000 bytes), got {LONG_A} (5000 bytes): they are the same up to byte 4096"),
    (expected_data(b"a" * 200), received(b"a" * 100),
     f"expected data {LONG_A} (200 bytes), got {LONG_A} (100 bytes): they are the same up to byte 100"),
    (ExpectMessage(descriptors=("SocketAddress",)), received(b"", "SocketAddress"), None),
    (ExpectMessage(descriptors=()), received(b"", "INVALID"), "expected descriptors [], got [INVALID]"),
    (ExpectMessage(descriptors=("SharedMemory", "INVALID")), received(b"", "INVALID", "SharedMemory"),
     "expected descriptors [SharedMemory, INVALID], got [INVALID, SharedMemory]"),
    (ExpectMessage(flags=0), received(), None),
    (ExpectMessage(flags=1), received(flags=2), "expected flags 1, got 2"),
]  # fmt: skip


@pytest.mark.parametrize(("expected", "result", "differs"), DIFFERENCES)
def test_a_result_differs_from_what_was_expected(expected: ExpectResult, result: Any, differs: str | None) -> None:
    assert difference(expected, result) == differs


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"error": 5},
        {"error": ["EIO"]},
        {"error": "\x1b[2J"},
        {"error": "EIO", "detail": 5},
        GOOD | {"sent": "3"},
        GOOD | {"flags": True},
        GOOD | {"descriptors": 5},
        GOOD | {"descriptors": {"kind": "INVALID"}},
        GOOD | {"descriptors": ["INVALID"]},
        GOOD | {"descriptors": [{"kind": 5}]},
        GOOD | {"address": "socket:[1]"},
        GOOD | {"data": "hi"},
        GOOD | {"data": {"size": 2, "sha256": "", "head": "%"}},
        GOOD | {"data": {"size": "2", "sha256": "", "head": ""}},
    ],
)
def test_what_is_no_result_is_a_value_error_whatever_was_expected(result: dict[str, Any]) -> None:
    for expected in (ExpectResult(), ExpectSent(), ExpectMessage(), ExpectResult(error="EIO")):
        with pytest.raises(ValueError, match="a result"):
            difference(expected, result)


def test_a_message_without_data_is_no_result_where_data_is_expected() -> None:
    with pytest.raises(ValueError, match="a result without data"):
        difference(expected_data(b""), GOOD)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["EIO", "SocketAddress", "aGk=", "hi"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["kind", "identity", "size", "sha256", "head", "x"]), inner)
    ),
    max_leaves=8,
)
RESULTS = st.dictionaries(
    st.sampled_from(["error", "detail", "sent", "data", "descriptors", "flags", "address", "x"]), JSON
)


@given(RESULTS)
@example(GOOD | {"data": {"size": 10**5000, "sha256": "", "head": ""}})
def test_whatever_a_worker_answers_is_a_difference_or_a_value_error(result: dict[str, Any]) -> None:
    for expected in (expected_data(b"hi", descriptors=("INVALID",), flags=0), ExpectSent(sent=1), ExpectResult()):
        try:
            told = difference(expected, GOOD | result)
        except ValueError:
            continue
        assert told is None or told.isprintable()


@given(st.binary(max_size=300))
def test_received_data_is_as_expected_exactly_when_it_is_the_same(data: bytes) -> None:
    assert difference(expected_data(data), json.loads(json.dumps(received(data)))) is None
    assert difference(expected_data(data + b"\0"), received(data)) is not None
    assert base64.b64decode(received(data)["data"]["head"]) == data


@pytest.mark.parametrize(
    ("text", "shown"), [("é", "é"), ("\x1b[2J", r"\x1b[2J"), ("\ud800", r"\ud800"), ("a\nb", r"a\nb")]
)
def test_what_a_terminal_would_obey_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
