"""Counting the words of a text: shared out among mappers, gathered by a reducer, and compared with plain Python.

    reader ── a share of the text, in SharedMemory ──> mappers ── counts, in SharedMemory ──> reducer <── plain

The reader was granted the text as sel_ldr's -r grants it, and so was `plain`, which counts it by itself and in another
way, asks the reducer, and compares the whole answer. A word is a run of letters, whatever their case; what is not ASCII
counts as letters. Everybody connects before it begins to work, so that nobody waits for an accept in between.
"""

import json
import mmap
import re
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Final

from sandbox.descriptors import ConnectedSocket, Descriptor, HostFile
from sandbox.imc import Imc
from sandbox.programs.messages import data_of, hear, memory_of, say
from sandbox.worker import Worker

# The letters in lower case, and a space for all else.
LETTERS: Final = bytes(
    byte if chr(byte).isalpha() or not chr(byte).isascii() else ord(" ") for byte in bytes(range(256)).lower()
)
SHARE_BYTES_MAX: Final = 64 * 1024 * 1024


def reader(worker: Worker) -> int:
    """Hand each mapper its share of the text."""
    mappers = [worker.imc.imc_connect(address) for address in worker.imports.values()]
    with text_of(worker) as text:
        for share, (mapper, (begin, end)) in enumerate(zip(mappers, pairwise(cuts(text, len(mappers))), strict=True)):
            with memory_of(worker.imc, text[begin:end]) as memory:
                say(worker.imc, mapper, "text", {"share": share, "bytes": end - begin}, memory)
    return 0


def mapper(worker: Worker) -> int:
    """Count the words of one share, and hand the counts to the reducer."""
    assert worker.bound_socket is not None  # noqa: S101 - a mapper without a port is of no use
    reducer = worker.imc.imc_connect(worker.imports["reducer"])
    with worker.imc.imc_accept(worker.bound_socket) as connection:
        _, body, descriptors = hear(worker.imc, connection)
    counts = counted(data_of(descriptors, body["bytes"], SHARE_BYTES_MAX))
    hand_over(worker.imc, reducer, counts, share=body["share"])
    return 0


def reducer(worker: Worker) -> int:
    """Gather the counts of args.mappers mappers, and answer the one who asks. With 1 where a share is missing."""
    assert worker.bound_socket is not None  # noqa: S101 - a reducer without a port is of no use
    mappers = worker.args["mappers"]
    counts, shares = Counter[bytes](), set[int]()
    connections = [worker.imc.imc_accept(worker.bound_socket) for _ in range(mappers + 1)]
    for connection in list(connections):
        kind, body, descriptors = hear(worker.imc, connection)
        if kind == "ask":
            continue
        counts.update(counts_in(descriptors, body["bytes"]))
        shares.add(body["share"])
        connections.remove(connection)
    (asking,) = connections
    hand_over(worker.imc, asking, counts)
    worker.report("shares", sorted(shares))
    return int(shares != set(range(mappers)))


def plain(worker: Worker) -> int:
    """Count the text in plain Python, and compare the reducer's whole answer. With 1 where they differ."""
    reducer = worker.imc.imc_connect(worker.imports["reducer"])
    say(worker.imc, reducer, "ask", {})
    with text_of(worker) as text:
        own = Counter(re.findall(rb"[a-z\x80-\xff]+", text[:].lower()))
    _, body, descriptors = hear(worker.imc, reducer)
    equal = counts_in(descriptors, body["bytes"]) == own
    worker.report("words", own.total())
    worker.report("distinct", len(own))
    worker.report("equal", equal)
    return int(not equal)


def text_of(worker: Worker) -> mmap.mmap:
    """Return the granted text, mapped; the caller closes the map."""
    file = worker.inherited["text"]
    assert isinstance(file, HostFile)  # noqa: S101 - the topology says so
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def cuts(text: bytes | mmap.mmap, shares: int) -> list[int]:
    """Return the shares + 1 places between which the shares lie: 0, those at whitespace, and the text's length.

    Where there is less whitespace than that, the last shares are empty.
    """
    places = [0]
    for share in range(1, shares):
        found = re.compile(rb"\s").search(text, max(places[-1], len(text) * share // shares))
        places.append(found.start() if found else len(text))
    return [*places, len(text)]


def counted(text: bytes) -> Counter[bytes]:
    """Return how often each word occurs."""
    return Counter(text.translate(LETTERS).split())


def hand_over(imc: Imc, connection: ConnectedSocket, counts: Mapping[bytes, int], **told: int) -> None:
    """Send counts as a JSON object in SharedMemory, and beside it what else is to be told."""
    data = json.dumps({word.decode(): count for word, count in counts.items()}).encode()
    with memory_of(imc, data) as memory:
        say(imc, connection, "counts", {"bytes": len(data), **told}, memory)


def counts_in(descriptors: tuple[Descriptor, ...], length: int) -> dict[bytes, int]:
    """Return what `hand_over` sent; takes over `descriptors`."""
    return {word.encode(): count for word, count in json.loads(data_of(descriptors, length, SHARE_BYTES_MAX)).items()}
