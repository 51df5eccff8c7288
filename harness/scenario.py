"""Whether a step's result is what was expected. Pure: results in, differences out."""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from harness.comparison import difference_of
from harness.topology.steps import ExpectMessage, ExpectResult, ExpectSent
from harness.topology.values import DESCRIPTOR_KINDS, ERRNO_NAMES
from sandbox.control import generated

SHOWN_BYTES: Final = 60
# What a probe may say that a descriptor is.
KINDS: Final = frozenset({*DESCRIPTOR_KINDS, "BoundSocket", "ConnectedSocket"})


def difference(expected: ExpectResult, result: Mapping[str, Any]) -> str | None:
    """Return how `result`, which a worker told, differs from what was expected; None where it does not.

    Raises ValueError where it is no result at all.
    """
    require_result(result)
    error = result.get("error")
    if error != expected.error:
        return f"expected {expected.error or 'success'}, got {told(result)}"
    if error is not None:
        return None
    differences = [_sent(expected, result), _message(expected, result)]
    return "; ".join(text for text in differences if text) or None


def told(result: Mapping[str, Any]) -> str:
    """Return a result's error, and what the worker has to say to it, as "EIO (the peer is gone)", or "success"."""
    error, detail = result.get("error"), result.get("detail")
    return f"{error} ({printable(detail)})" if error and detail else error or "success"


def printable(text: str) -> str:
    """Return text that a worker chose, with escapes for all that a terminal would obey or could not show."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def require_result(result: Mapping[str, Any]) -> None:
    """Raise ValueError unless `result`, which a worker told, has the shape of a result."""
    match result:
        case {"error": str(error)} if error not in ERRNO_NAMES:
            raise ValueError("a result whose error is no errno")
        case {"error": str() | None, **rest}:
            pass
        case _:
            raise ValueError("a result without error")
    if not isinstance(rest.get("detail", ""), str | None):
        raise ValueError("a result whose detail is no text")  # noqa: TRY004 - one exception for all that a worker may send
    if not all(type(rest.get(key, 0)) is int for key in ("sent", "flags")):
        raise ValueError("a result whose sent or flags are no number")
    if not isinstance(rest.get("descriptors", []), list):
        raise ValueError("a result whose descriptors are no list")  # noqa: TRY004 - as above
    for described in (*rest.get("descriptors", ()), *([rest["address"]] if "address" in rest else ())):
        kind_of(described)
    if "data" in rest:
        _require_digest(rest["data"])


def _require_digest(data: object) -> None:
    match data:
        case {"size": int(), "sha256": str(), "head": str(head)}:
            _head(head)
        case _:
            raise ValueError("a result without data")


def _sent(expected: ExpectResult, result: Mapping[str, Any]) -> str | None:
    if not isinstance(expected, ExpectSent) or expected.sent is None:
        return None
    if difference_of(expected.sent, result.get("sent")) is None:
        return None
    return f"expected sent {expected.sent}, got {result.get('sent', 'none')}"


def _message(expected: ExpectResult, result: Mapping[str, Any]) -> str | None:
    if not isinstance(expected, ExpectMessage):
        return None
    return _data(expected, result) or _descriptors(expected, result) or _flags(expected, result)


def _data(expected: ExpectMessage, result: Mapping[str, Any]) -> str | None:
    if expected.data is None:
        return None
    wanted = generated(expected.data) if isinstance(expected.data, int) else expected.data
    data = result.get("data")
    if data is None:
        raise ValueError("a result without data")
    if data["size"] == len(wanted) and data["sha256"] == hashlib.sha256(wanted).hexdigest():
        return None
    head = _head(data["head"])
    return f"expected data {_shown(wanted)}, got {_shown(head, data['size'])}{_where(wanted, head)}"


def _head(head: str) -> bytes:
    try:
        return base64.b64decode(head, validate=True)
    except ValueError:
        raise ValueError("a result whose data is no base64") from None


def _shown(data: bytes, size: int | None = None) -> str:
    size = len(data) if size is None else size
    text = repr(data[:SHOWN_BYTES].decode("utf-8", "backslashreplace"))
    return f"{text}… ({size} bytes)" if size > SHOWN_BYTES else f"{text} ({size} bytes)"


def _where(wanted: bytes, head: bytes) -> str:
    """Return where data differs, where what is shown of it does not tell."""
    pairs = enumerate(zip(wanted, head, strict=False))
    shared = next((index for index, (ours, theirs) in pairs if ours != theirs), min(len(wanted), len(head)))
    if shared < SHOWN_BYTES:
        return ""
    return f": they differ from byte {shared} on" if shared < len(head) else f": they are the same up to byte {shared}"


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
        case {"kind": str(kind)} if kind in KINDS:
            return kind
        case _:
            raise ValueError("a result whose descriptors have no kind")


def _flags(expected: ExpectMessage, result: Mapping[str, Any]) -> str | None:
    if expected.flags is None or expected.flags == result.get("flags"):
        return None
    return f"expected flags {expected.flags}, got {result.get('flags', 'none')}"
