"""Counting the words of a text: shared out among mappers, gathered by a reducer, and compared with plain Python.

    reader ── a share of the text, in SharedMemory ──> mappers ── counts, in SharedMemory ──> reducer <── plain

The reader was granted the text as sel_ldr's -r grants it, and so was `plain`, which counts it by itself and in another
way, asks the reducer, and compares the whole answer. A word is a run of letters, whatever their case; what is not ASCII
counts as letters. Each is heard in a thread of its own (`server.py`): who says nothing or nonsense holds up nobody.
"""

import json
import mmap
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import pairwise
from queue import SimpleQueue
from typing import Final

from sandbox.descriptors import ConnectedSocket, Descriptor, HostFile
from sandbox.errors import MalformedMessage
from sandbox.imc import Imc
from sandbox.programs.messages import Heard, close_all, data_of, hear, memory_of, say
from sandbox.programs.server import serve_until_stopped, telling, wait_for
from sandbox.worker import Worker

# The letters in lower case, and a space for all else.
LETTERS: Final = bytes(
    byte if chr(byte).isalpha() or not chr(byte).isascii() else ord(" ") for byte in bytes(range(256)).lower()
)
SHARE_BYTES_MAX: Final = 64 * 1024 * 1024
# What all can be added up of and still be a number in JSON, wherever that is read.
COUNT_MAX: Final = 2**48
# A word may be of any bytes; those that are no UTF-8 travel as what no text has.
ODD_BYTES: Final = "surrogateescape"


def reader(worker: Worker) -> int:
    """Hand each mapper its share of the text."""
    mappers = [worker.imc.imc_connect(address) for address in worker.imports.values()]
    with text_of(worker) as text:
        for share, (mapper, (begin, end)) in enumerate(zip(mappers, pairwise(cuts(text, len(mappers))), strict=True)):
            with memory_of(worker.imc, text[begin:end]) as memory:
                say(worker.imc, mapper, "text", {"share": share, "bytes": end - begin}, memory)
    return 0


def mapper(worker: Worker) -> int:
    """Count the words of each share that arrives, and hand the counts to the reducer."""
    return serve_until_stopped(worker, telling(worker, lambda connection: map_share(worker, connection)))


def map_share(worker: Worker, connection: ConnectedSocket) -> None:
    """Count one share. Raises MalformedMessage, ImcError."""
    match hear(worker.imc, connection):
        case Heard("text", {"share": int(share), "bytes": length}, descriptors):
            counts = counted(data_of(descriptors, length, SHARE_BYTES_MAX))
        case other:
            close_all(other.descriptors)
            raise MalformedMessage(f"{other.kind!r} is no share")
    with worker.imc.imc_connect(worker.imports["reducer"]) as reducer:
        hand_over(worker.imc, reducer, counts, share=share)


def reducer(worker: Worker) -> int:
    """Gather the counts of args.mappers shares, and answer those who ask. With 1, and at once, where one came twice.

    Who sends what are no counts is reported as `malformed`, and another is waited for. Whether counts are right nobody
    here can tell: that is for `plain` to find.
    """
    mappers = worker.args["mappers"]
    status = SimpleQueue[int]()

    def whole(shares: list[int]) -> None:
        worker.report("shares", shares)
        if shares != list(range(mappers)):
            status.put(1)

    tally = Tally(mappers, whole)
    serve = telling(worker, lambda connection: gather(worker.imc, connection, tally))
    threading.Thread(target=lambda: status.put(serve_until_stopped(worker, serve)), daemon=True).start()
    return status.get()


class Tally:
    """The counts of so many shares, and those who wait for them; `whole` is told the shares once all are there."""

    def __init__(self, wanted: int, whole: Callable[[list[int]], None]) -> None:
        self._wanted = wanted
        self._whole = whole
        self._changed = threading.Condition()
        self._counts = Counter[bytes]()
        self._shares: list[int] = []

    def add(self, share: int, counts: Mapping[bytes, int]) -> None:
        """Add the counts of one share. Raises MalformedMessage for one too many."""
        with self._changed:
            if len(self._shares) == self._wanted or not 0 <= share < self._wanted:
                raise MalformedMessage(f"share {share} of {self._wanted}, and {len(self._shares)} are there")
            self._counts.update(counts)
            self._shares.append(share)
            if len(self._shares) == self._wanted:
                self._whole(sorted(set(self._shares)))
                self._changed.notify_all()

    def once_whole(self, client: ConnectedSocket) -> Mapping[bytes, int]:
        """Wait for all shares, and return the counts. Raises EndOfStream once the client (borrowed) is gone."""
        with self._changed:
            wait_for(self._changed, lambda: len(self._shares) == self._wanted, client)
        return self._counts


def gather(imc: Imc, connection: ConnectedSocket, tally: Tally) -> None:
    """Hear one mapper, or answer one who asks. Raises MalformedMessage, ImcError."""
    match hear(imc, connection):
        case Heard("ask", _, ()):
            hand_over(imc, connection, tally.once_whole(connection))
        case Heard("counts", {"share": int(share), "bytes": length}, descriptors):
            tally.add(share, counts_in(descriptors, length))
        case other:
            close_all(other.descriptors)
            raise MalformedMessage(f"{other.kind!r} is neither counts nor a question")


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
    data = json.dumps({word.decode(errors=ODD_BYTES): count for word, count in counts.items()}).encode()
    with memory_of(imc, data) as memory:
        say(imc, connection, "counts", {"bytes": len(data), **told}, memory)


def counts_in(descriptors: tuple[Descriptor, ...], length: object) -> dict[bytes, int]:
    """Return what `hand_over` sent; takes over `descriptors`. Raises MalformedMessage for anything else."""
    data = data_of(descriptors, length, SHARE_BYTES_MAX)
    try:
        counts = json.loads(data)
        if not isinstance(counts, dict):
            raise MalformedMessage("counts that are no object")
        if not all(type(count) is int and 0 < count <= COUNT_MAX for count in counts.values()):
            raise MalformedMessage("counts that are no numbers")
        return {word.encode(errors=ODD_BYTES): count for word, count in counts.items()}
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"no counts: {error}") from None
