"""Bytes captured from Native Client's own code (tests/vectors), and what each of them says."""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from sandbox.wire import Entry, Kind

VECTORS: Final = Path(__file__).parent.parent / "vectors"

TOKEN: Final = b"gGszUNP4ofObmsUOx6hjKVZu3fb"
QUOTA_ID: Final = bytes(range(16))

# These belong to the protocols: they are no framed messages.
UNFRAMED: Final = {"imc_connect", "bound_sockaddr_un"}

MEANING: Final[dict[str, tuple[Entry, ...]]] = {
    "nodesc_empty": (),
    "nodesc_foo": (),
    "nodesc_1000": (),
    "dataonly_channel_foo": (),
    "addr1": (Entry(Kind.ADDRESS),),
    "addr8": (Entry(Kind.ADDRESS),) * 8,
    "shm1": (Entry(Kind.SHARED_MEMORY, size=65536),),
    "datasock1": (Entry(Kind.DATA_ONLY_SOCKET),),
    "hostfile1": (Entry(Kind.HOST_FILE),),
    "invalid1": (Entry(Kind.INVALID),),
    "quota_hostfile": (Entry(Kind.QUOTA_HOST_FILE, quota_id=QUOTA_ID),),
    "sel_ldr_X_bootstrap": (Entry(Kind.ADDRESS),) * 2,
}
MEANING_2010: Final = MEANING | {"addr1": (Entry(Kind.TOKEN_ADDRESS, token=TOKEN),)}
DATA: Final[dict[str, bytes]] = {
    "nodesc_empty": b"",
    "nodesc_foo": b"foo",
    "nodesc_1000": bytes(i * 7 % 251 for i in range(1000)),
    "dataonly_channel_foo": b"foo",
    "addr1": b"desc",
    "addr8": b"maxdesc",
    "shm1": b"shm",
    "datasock1": b"ds",
    "hostfile1": b"hf",
    "invalid1": b"inv",
    "quota_hostfile": b"q",
    "sel_ldr_X_bootstrap": b"",
}


class Vector(NamedTuple):
    """One message of one layout: its bytes, and what they say."""

    layout: str
    name: str
    packet: bytes
    fds: int
    entries: tuple[Entry, ...]
    data: bytes

    def __str__(self) -> str:
        return f"{self.layout}-{self.name}"


def load(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text(encoding="ascii"))
    return vectors


def messages(layout: str) -> list[Vector]:
    meaning = MEANING_2010 if layout == "2010" else MEANING
    return [
        Vector(layout, name, bytes.fromhex(raw["data_hex"]), raw["n_fds"], meaning[name], DATA[name])
        for raw in load(f"messages_{layout}")
        if (name := raw["name"]) not in UNFRAMED
    ]


def unframed(layout: str, name: str) -> dict[str, Any]:
    """Return what the protocols send or bind, and the tests of the protocols compare with."""
    (found,) = (raw for raw in load(f"messages_{layout}") if raw["name"] == name)
    return found


MESSAGES: Final = [vector for layout in ("2010", "2013", "recent") for vector in messages(layout)]
