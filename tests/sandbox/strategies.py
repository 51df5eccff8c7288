"""Messages, right and wrong, for Hypothesis.

Each strategy is made once: Hypothesis looks through one that is new to it, which takes longer than an example.
"""

from functools import cache
from typing import Final

from hypothesis import strategies as st

from sandbox.abi import MEMORY_PAGE, TOKEN_ALPHABET
from sandbox.wire import AREA_ALIGNMENT, END_TAG, HEADER, LAYOUTS, MAGIC, Entry, Kind, encode

tokens: Final = st.text(TOKEN_ALPHABET.decode(), min_size=27, max_size=27).map(str.encode)
sizes: Final = st.integers(1, (2**63 - 1) // MEMORY_PAGE).map(MEMORY_PAGE.__mul__)


def entry(kind: Kind) -> st.SearchStrategy[Entry]:
    match kind:
        case Kind.SHARED_MEMORY:
            return sizes.map(lambda size: Entry(kind, size=size))
        case Kind.TOKEN_ADDRESS:
            return tokens.map(lambda token: Entry(kind, token=token))
        case Kind.QUOTA_HOST_FILE:
            return st.binary(min_size=16, max_size=16).map(lambda quota_id: Entry(kind, quota_id=quota_id))
        case _:
            return st.just(Entry(kind))


@cache
def entries(layout: str) -> st.SearchStrategy[list[Entry]]:
    """All that may go with one message of `layout`."""
    return st.lists(st.one_of([entry(form.kind) for form in LAYOUTS[layout].forms.values()]), max_size=8)


@cache
def valid_packets(layout: str) -> st.SearchStrategy[bytes]:
    heads = entries(layout).map(lambda some: encode(LAYOUTS[layout], some))
    return st.builds(bytes.__add__, heads, st.binary(max_size=64))


@st.composite
def mutated_packets(draw: st.DrawFn, layout: str) -> bytes:
    """Return a valid packet with one to three bytes changed, inserted or cut out, or cut short."""
    packet = bytearray(draw(valid_packets(layout)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(packet)))
        until = draw(st.integers(at, min(len(packet), at + 4)))
        packet[at:until] = draw(st.binary(max_size=4))
    return bytes(packet[: draw(st.integers(0, len(packet)))] if draw(st.booleans()) else packet)


# The bytes that mean something in an area, so that random areas come near to the form.
_telling: Final = st.sampled_from([*range(16), END_TAG, 20, ord("a")])


@st.composite
def plausible_packets(draw: st.DrawFn) -> bytes:
    """Return a right header before an area of tags, end tags and zeros in any order, with or without the padding."""
    area = bytes(draw(st.lists(_telling, max_size=40)))
    if draw(st.booleans()):
        area += bytes(-len(area) % AREA_ALIGNMENT)
    area_bytes = len(area) + draw(st.sampled_from([0, 0, 0, 1, -1, 16, 2**31]))
    return HEADER.pack(MAGIC, max(area_bytes, 0), bytes(8)) + area + draw(st.binary(max_size=16))


@cache
def packets(layout: str) -> st.SearchStrategy[bytes]:
    """Any bytes, from noise to a valid message."""
    return st.one_of(st.binary(max_size=64), plausible_packets(), mutated_packets(layout), valid_packets(layout))
