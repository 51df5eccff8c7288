"""Whether a step's result is what was expected. Pure: results in, differences out."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from harness.topology.model import ExpectMessage, ExpectResult, ExpectSent
from sandbox.control import generated

SHOWN_BYTES: Final = 60


def difference(expected: ExpectResult, result: Mapping[str, Any]) -> str | None:
    """Return how `result`, which a worker told, differs from what was expected; None where it does not.

    Raises ValueError where it is no result at all.
    """
    error = result.get("error")
    if error is not None and not isinstance(error, str):
        raise ValueError("a result whose error is no text")
    if error != expected.error:
        told = result.get("detail")
        got = f"{error} ({told})" if error and told else error or "success"
        return f"expected {expected.error or 'success'}, got {got}"
    if error is not None:
        return None
    differences = [_sent(expected, result), _message(expected, result)]
    return "; ".join(text for text in differences if text) or None


def _sent(expected: ExpectResult, result: Mapping[str, Any]) -> str | None:
    if isinstance(expected, ExpectSent) and expected.sent is not None and expected.sent != result.get("sent"):
        return f"expected sent {expected.sent}, got {result.get('sent')}"
    return None


def _message(expected: ExpectResult, result: Mapping[str, Any]) -> str | None:
    if not isinstance(expected, ExpectMessage):
        return None
    return _data(expected, result) or _descriptors(expected, result) or _flags(expected, result)


def _data(expected: ExpectMessage, result: Mapping[str, Any]) -> str | None:
    if expected.data is None:
        return None
    wanted = generated(expected.data) if isinstance(expected.data, int) else expected.data
    match result.get("data"):
        case {"size": int(size), "sha256": str(sha256), "head": str(head)}:
            if size == len(wanted) and sha256 == hashlib.sha256(wanted).hexdigest():
                return None
            return f"expected data {_shown(wanted)}, got {_shown(_head(head), size)}"
        case _:
            raise ValueError("a result without data")


def _head(head: str) -> bytes:
    return base64.b64decode(head, validate=True)


def _shown(data: bytes, size: int | None = None) -> str:
    size = len(data) if size is None else size
    text = repr(data[:SHOWN_BYTES].decode("utf-8", "backslashreplace"))
    return f"{text}… ({size} bytes)" if size > SHOWN_BYTES else f"{text} ({size} bytes)"


def _descriptors(expected: ExpectMessage, result: Mapping[str, Any]) -> str | None:
    if expected.descriptors is None:
        return None
    got = tuple(kind_of(described) for described in result.get("descriptors", ()))
    if got == expected.descriptors:
        return None
    return f"expected descriptors [{', '.join(expected.descriptors)}], got [{', '.join(got)}]"


def kind_of(described: object) -> str:
    """Return the kind of a descriptor that a worker describes. Raises ValueError where it does not."""
    match described:
        case {"kind": str(kind)}:
            return kind
        case _:
            raise ValueError("a result whose descriptors have no kind")


def _flags(expected: ExpectMessage, result: Mapping[str, Any]) -> str | None:
    if expected.flags is None or expected.flags == result.get("flags"):
        return None
    return f"expected flags {expected.flags}, got {result.get('flags')}"
