"""A chain of processes, and data that flows through it until its end, past whoever made the chain.

    source ══> stage ══> stage ══> … ══> sink        ══ a DataOnlySocket pair, made by the coordinator
       └─────────┴─────────┴── coordinator ─┘        ── the connection over which it hands out the ends

A stage connects to the coordinator, learns what it is to do, and gets its input and its output. Nobody tells anybody
that it is over: a stage ends when its input does, which is when nobody holds the other end any more. So whoever hands
out an end closes it. `plain` does at once, to the whole text, what the stages do, and compares what the sink got.
"""

import hashlib
import mmap
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from typing import Final, NamedTuple

from sandbox.abi import USER_BYTES_MAX
from sandbox.descriptors import ConnectedSocket, DataOnlySocket, HostFile
from sandbox.errors import EndOfStream, ImcError, MalformedMessage
from sandbox.imc import Imc
from sandbox.programs.messages import Heard, close_all, hear, receive, say
from sandbox.programs.server import has_hung_up, serve_until_stopped, telling
from sandbox.worker import Worker

COMMENT_LINE: Final = re.compile(rb"^[^\S\n]*#.*\n?", re.MULTILINE)


def without_comments(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines that are no comments, however the chunks cut them."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield b"".join(line + b"\n" for line in lines if not is_comment(line))
    yield b"" if is_comment(rest) else rest


def is_comment(line: bytes) -> bool:
    """Say whether nothing but white space is before the #."""
    return line.lstrip().startswith(b"#")


def capitals(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks in capitals."""
    return (chunk.upper() for chunk in chunks)


def compressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a zlib stream."""
    compressor = zlib.compressobj(1)
    for chunk in chunks:
        yield compressor.compress(chunk)
    yield compressor.flush()


def decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what is in a zlib stream. Raises zlib.error."""
    decompressor = zlib.decompressobj()
    for chunk in chunks:
        yield decompressor.decompress(chunk)
    yield decompressor.flush()


class Work(NamedTuple):
    """What a stage can do, to chunks one after the other, and to all data at once."""

    flow: Callable[[Iterable[bytes]], Iterator[bytes]]
    whole: Callable[[bytes], bytes]


WORK: Final = {
    "strip": Work(without_comments, lambda data: COMMENT_LINE.sub(b"", data)),
    "upper": Work(capitals, bytes.upper),
    "compress": Work(compressed, zlib.compress),
    "decompress": Work(decompressed, zlib.decompress),
}


# The workers


def coordinator(worker: Worker) -> int:
    """Join those who connect to a chain whose stages do args.stages, and report as `malformed` who did not fit."""
    chain = Chain(worker.imc, worker.args["stages"])
    return serve_until_stopped(worker, telling(worker, chain.join))


class Place(NamedTuple):
    """What one is to do, and the ends between which it is to do it: they are the place's until it is handed out."""

    work: str
    ends: tuple[DataOnlySocket, ...]


class Chain:
    """The places of a chain, for whoever comes first; any thread may have one join.

    Who takes a place and does nothing there breaks the chain, as does one that comes as what it is not.
    """

    def __init__(self, imc: Imc, todo: Sequence[str]) -> None:
        self._imc = imc
        ends = [end for _ in range(len(todo) + 1) for end in imc.imc_socketpair()]
        between = zip(ends[1:-1:2], ends[2::2], strict=True)
        self._free = {
            "source": deque([Place("", (ends[0],))]),
            "stage": deque(Place(work, both) for work, both in zip(todo, between, strict=True)),
            "sink": deque([Place("", (ends[-1],))]),
        }

    def join(self, connection: ConnectedSocket) -> None:
        """Hear what one client is, and give it its place. Raises MalformedMessage where there is none, ImcError."""
        heard = hear(self._imc, connection)
        close_all(heard.descriptors)
        match heard:
            case Heard(("source" | "stage" | "sink") as role, str(), ()):
                free = self._free[role]
            case _:
                raise MalformedMessage(f"{heard.kind!r} has no place in a chain")
        if has_hung_up(connection):
            raise EndOfStream("it did not wait for its place")
        try:
            place = free.popleft()
        except IndexError:
            raise MalformedMessage(f"one {role} too many") from None
        try:
            hand_out(self._imc, connection, place.work, *place.ends)
        except ImcError:
            free.appendleft(place)
            raise

    def close(self) -> None:
        """Close the ends that nobody came for."""
        for free in self._free.values():
            while free:
                close_all(free.popleft().ends)


def source(worker: Worker) -> int:
    """Send the text, or args.bytes bytes of it."""
    _, (output,) = handed_out(worker.imc, join(worker, "source"))
    with output:
        send(worker.imc, output, [text_of(worker)])
    return 0


def stage(worker: Worker) -> int:
    """Do what the coordinator says to all that arrives, until nothing does any more."""
    work, (into, output) = handed_out(worker.imc, join(worker, "stage"))
    with into, output:
        send(worker.imc, output, WORK[work].flow(received(worker.imc, into)))
    return 0


def sink(worker: Worker) -> int:
    """Take what arrives, and tell the one who asks what it was."""
    assert worker.bound_socket is not None  # noqa: S101 - a sink without a port is of no use
    connection = join(worker, "sink")
    asking = worker.imc.imc_accept(worker.bound_socket)
    _, (into,) = handed_out(worker.imc, connection)
    with into:
        say(worker.imc, asking, "arrived", told(received(worker.imc, into)))
    return 0


def plain(worker: Worker) -> int:
    """Do what args.stages do to the whole text, and compare what has arrived at the sink. With 1 where it differs."""
    connection = worker.imc.imc_connect(worker.imports["sink"])
    result = reduce(lambda data, work: WORK[work].whole(data), worker.args["stages"], text_of(worker))
    arrived = hear(worker.imc, connection).body
    worker.report("bytes", len(result))
    worker.report("equal", arrived == told([result]))
    return int(arrived != told([result]))


# What they do


def text_of(worker: Worker) -> bytes:
    """Return the granted text, or args.bytes bytes of it."""
    file = worker.inherited["text"]
    assert isinstance(file, HostFile)  # noqa: S101 - the topology says so
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text[: worker.args.get("bytes")]


def join(worker: Worker, kind: str) -> ConnectedSocket:
    """Tell the coordinator that one more of this kind is there, over the connection that this returns."""
    connection = worker.imc.imc_connect(worker.imports["coordinator"])
    say(worker.imc, connection, kind, worker.name)
    return connection


def hand_out(imc: Imc, connection: ConnectedSocket, work: str, *ends: DataOnlySocket) -> None:
    """Tell one what it is to do, and give it the ends between which it is to do it: they are its own from now on."""
    say(imc, connection, "work", work, *ends)
    close_all(ends)


def handed_out(imc: Imc, connection: ConnectedSocket) -> tuple[str, list[DataOnlySocket]]:
    """Return what there is to do, and the ends, the caller's: the input, the output, or both in this order."""
    _, work, descriptors = hear(imc, connection)
    return work, [end for end in descriptors if isinstance(end, DataOnlySocket)]


def send(imc: Imc, output: DataOnlySocket, chunks: Iterable[bytes]) -> None:
    """Send all chunks, in messages as long as a message may be. Raises ImcError."""
    for chunk in chunks:
        for begin in range(0, len(chunk), USER_BYTES_MAX):
            imc.imc_sendmsg(output, memoryview(chunk)[begin : begin + USER_BYTES_MAX])


def received(imc: Imc, into: DataOnlySocket) -> Iterator[bytes]:
    """Yield what arrives until nobody holds the other end any more. Raises ImcError."""
    while True:
        try:
            chunk = receive(imc, into).data
        except EndOfStream:
            return
        yield chunk


def told(chunks: Iterable[bytes]) -> dict[str, object]:
    """Return how many bytes these are, and their SHA-256."""
    size, digest = 0, hashlib.sha256()
    for chunk in chunks:
        size += len(chunk)
        digest.update(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}
