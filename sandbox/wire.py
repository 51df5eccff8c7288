"""The wire format of an IMC message: bytes to meaning and back, one table a layout. No I/O.

    u32 LE magic | u32 LE descriptor_area_bytes | 8 zero bytes | descriptor area | user data

The area is a tag and a payload for each descriptor, then 0xff, zero-padded to a multiple of 16; without
descriptors it is absent. Three layouts share one magic number and misread each other, so both sides must
agree on one beforehand. Decoding is strict: what `encode` could not have written is MalformedMessage, so
each message has exactly one form and nothing is smuggled in padding. (Bytes captured from Native Client's
own code are in the tests.)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from struct import Struct
from struct import error as struct_error
from typing import Final, NamedTuple

from sandbox.abi import (
    DESCRIPTORS_MAX,
    MEMORY_PAGE,
    QUOTA_ID_BYTES,
    TOKEN_ALPHABET,
    TOKEN_LENGTH,
    USER_BYTES_MAX,
)
from sandbox.errors import MalformedMessage

MAGIC: Final = 0xD3C0DE01
END_TAG: Final = 0xFF
AREA_ALIGNMENT: Final = 16
HEADER: Final = Struct("<II8s")
HEADER_BYTES: Final = HEADER.size
NO_PADDING: Final = bytes(8)
HEADER_WITHOUT_DESCRIPTORS: Final = HEADER.pack(MAGIC, 0, NO_PADDING)


class Kind(Enum):
    """What a tag says that a descriptor is."""

    INVALID = "invalid"
    HOST_FILE = "host file"
    QUOTA_HOST_FILE = "quota-wrapped host file"
    TOKEN_ADDRESS = "SocketAddress as token"  # noqa: S105 - the name of a capability's form, not a secret
    ADDRESS = "SocketAddress as descriptor"
    SHARED_MEMORY = "SharedMemory"
    DATA_ONLY_SOCKET = "DataOnlySocket"


class Entry(NamedTuple):
    """One descriptor as the area tells of it: `size` of SharedMemory, `token` of 27 bytes, `quota_id` of 16."""

    kind: Kind
    size: int = 0
    token: bytes = b""
    quota_id: bytes = b""


NO_PAYLOAD: Final = Struct("")
SIZE: Final = Struct("<q")
TOKEN: Final = Struct(f"<{TOKEN_LENGTH}sx")
QUOTA_ID: Final = Struct(f"<{QUOTA_ID_BYTES}s")
NO_FLAGS: Final = bytes(4)
MEMORY_FLAGS: Final = bytes((2, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Form:
    """What follows a tag: a constant, then the size, token or quota id of its kind, then another constant."""

    kind: Kind
    constant: bytes = b""
    payload: Struct = NO_PAYLOAD
    trailer: bytes = b""


@dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """One generation of the wire format: its table, read in both directions."""

    name: str
    forms: Mapping[int, Form]

    def tag_of(self, kind: Kind) -> int:
        """Return the tag that says `kind`. Raises KeyError where this layout cannot say it."""
        for tag, form in self.forms.items():
            if form.kind is kind:
                return tag
        raise KeyError(kind)


# What a table lacks is refused: BoundSocket, ConnectedSocket, sync sockets, and each layout's foreign addresses.
LAYOUTS: Final[Mapping[str, Layout]] = {
    layout.name: layout
    for layout in (
        Layout(
            "2010",
            {
                0: Form(Kind.INVALID),
                2: Form(Kind.HOST_FILE),
                3: Form(Kind.TOKEN_ADDRESS, payload=TOKEN),
                6: Form(Kind.SHARED_MEMORY, payload=SIZE),
                12: Form(Kind.DATA_ONLY_SOCKET),
            },
        ),
        Layout(
            "2013",
            {
                0: Form(Kind.INVALID),
                2: Form(Kind.HOST_FILE),
                4: Form(Kind.ADDRESS),
                7: Form(Kind.SHARED_MEMORY, payload=SIZE),
                13: Form(Kind.DATA_ONLY_SOCKET),
                15: Form(Kind.QUOTA_HOST_FILE, payload=QUOTA_ID, trailer=bytes((2,))),
            },
        ),
        Layout(
            "recent",
            {
                0: Form(Kind.INVALID),
                2: Form(Kind.HOST_FILE, constant=NO_FLAGS, trailer=bytes(4)),
                4: Form(Kind.ADDRESS, constant=NO_FLAGS),
                7: Form(Kind.SHARED_MEMORY, constant=MEMORY_FLAGS, payload=SIZE),
                13: Form(Kind.DATA_ONLY_SOCKET, constant=NO_FLAGS),
            },
        ),
    )
}

# The longest area that a message can have: eight tokens (8 * 29 bytes and the end tag, padded).
AREA_BYTES_MAX: Final = 240
# One byte more than any message, so that a longer one shows itself.
RECEIVE_BYTES: Final = HEADER_BYTES + AREA_BYTES_MAX + USER_BYTES_MAX + 1


def encode(layout: Layout, entries: Sequence[Entry]) -> bytes:
    """Return what precedes the user data: header and descriptor area.

    Raises KeyError where the layout has no tag for an entry's kind.
    """
    if not entries:
        return HEADER_WITHOUT_DESCRIPTORS
    area = bytearray()
    for entry in entries:
        tag = layout.tag_of(entry.kind)
        form = layout.forms[tag]
        area.append(tag)
        area += form.constant + _pack_payload(form, entry) + form.trailer
    area.append(END_TAG)
    area += bytes(-len(area) % AREA_ALIGNMENT)
    return HEADER.pack(MAGIC, len(area), NO_PADDING) + area


def decode(layout: Layout, packet: bytes | memoryview) -> tuple[tuple[Entry, ...], int]:
    """Return the entries of a whole packet and the offset at which its user data begins.

    Raises MalformedMessage and nothing else, whatever the bytes.
    """
    if len(packet) < HEADER_BYTES:
        raise MalformedMessage(f"a message of {len(packet)} bytes is shorter than its header")
    magic, area_bytes, padding = HEADER.unpack_from(packet)
    if magic != MAGIC:
        raise MalformedMessage(f"magic number {magic:#010x}, not {MAGIC:#010x}")
    if padding != NO_PADDING:
        raise MalformedMessage("the header's padding is not zero")
    data_offset = HEADER_BYTES + area_bytes
    if data_offset > len(packet):
        raise MalformedMessage(f"a descriptor area of {area_bytes} bytes is longer than the message")
    if len(packet) - data_offset > USER_BYTES_MAX:
        raise MalformedMessage(f"{len(packet) - data_offset} bytes of data, more than {USER_BYTES_MAX}")
    return (_decode_area(layout, bytes(packet[HEADER_BYTES:data_offset])) if area_bytes else ()), data_offset


def _decode_area(layout: Layout, area: bytes) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    position = 0
    while (tag := area[position : position + 1]) != bytes((END_TAG,)):
        if len(entries) == DESCRIPTORS_MAX:
            raise MalformedMessage(f"more than {DESCRIPTORS_MAX} descriptors")
        if not tag:
            raise MalformedMessage("the descriptor area has no end tag")
        form = layout.forms.get(tag[0])
        if form is None:
            raise MalformedMessage(f"tag {tag[0]} cannot travel in layout {layout.name}")
        entry, position = _decode_entry(form, area, position + 1)
        entries.append(entry)
    rest = area[position + 1 :]
    if not entries or len(area) % AREA_ALIGNMENT or len(rest) >= AREA_ALIGNMENT or any(rest):
        raise MalformedMessage("the descriptor area is not zero-padded to the next multiple of 16")
    return tuple(entries)


def _decode_entry(form: Form, area: bytes, position: int) -> tuple[Entry, int]:
    """Return the entry whose tag stands just before `position`, and the position behind it."""
    payload_at = position + len(form.constant)
    trailer_at = payload_at + form.payload.size
    end = trailer_at + len(form.trailer)
    if area[position:payload_at] != form.constant or area[trailer_at:end] != form.trailer:
        raise MalformedMessage(f"the constant fields of a {form.kind.value} differ")
    try:
        fields = form.payload.unpack_from(area, payload_at)
    except struct_error:
        raise MalformedMessage(f"the descriptor area ends within a {form.kind.value}") from None
    return _entry_of(form, fields, area[payload_at:trailer_at]), end


def _entry_of(form: Form, fields: tuple[int | bytes, ...], payload: bytes) -> Entry:
    match form.kind, fields:
        case Kind.SHARED_MEMORY, (int(size),):
            if size <= 0 or size % MEMORY_PAGE:
                raise MalformedMessage(f"SharedMemory of {size} bytes is no positive multiple of {MEMORY_PAGE}")
            return Entry(form.kind, size=size)
        case Kind.TOKEN_ADDRESS, (bytes(token),):
            if not is_token(payload):
                raise MalformedMessage("a token is 27 letters and digits and a NUL")
            return Entry(form.kind, token=token)
        case Kind.QUOTA_HOST_FILE, (bytes(quota_id),):
            return Entry(form.kind, quota_id=quota_id)
        case _:
            return Entry(form.kind)


def _pack_payload(form: Form, entry: Entry) -> bytes:
    match form.kind:
        case Kind.SHARED_MEMORY:
            return form.payload.pack(entry.size)
        case Kind.TOKEN_ADDRESS:
            return form.payload.pack(entry.token)
        case Kind.QUOTA_HOST_FILE:
            return form.payload.pack(entry.quota_id)
        case _:
            return b""


def is_token(payload: bytes) -> bool:
    """Say whether these bytes are a token address: 27 characters of [a-zA-Z0-9] and a NUL."""
    return len(payload) == TOKEN_LENGTH + 1 and payload[-1] == 0 and not payload[:-1].translate(None, TOKEN_ALPHABET)
