"""What is kept of what a worker writes, and what is read apart."""

import asyncio
import os
from collections.abc import Callable

import pytest

from harness.capture import DIVERTED_BYTES, KEPT_BYTES, TAIL_BYTES, Capture
from harness.outcome import Output
from tests.kernel import OpenDescriptors


def captured(write: Callable[[Capture, int], None]) -> Output:
    """Return what is captured of what `write` writes; no more at once than the pipe holds."""

    async def run() -> Output:
        capture = Capture(lambda _: None)
        write(capture, capture.open())
        capture.finish()
        return capture.output()

    return asyncio.run(run())


def all_of(*pieces: bytes) -> Callable[[Capture, int], None]:
    def write(capture: Capture, writer: int) -> None:
        for piece in pieces:
            os.write(writer, piece)
            capture.catch_up()

    return write


def test_the_beginning_and_the_end_are_kept_and_the_rest_is_counted(open_descriptors: OpenDescriptors) -> None:
    output = captured(all_of(b"a" * KEPT_BYTES, b"b" * 10000, b"the end"))
    assert output == Output(b"a" * KEPT_BYTES, KEPT_BYTES + 10007, b"b" * (TAIL_BYTES - 7) + b"the end")
    assert output.text().endswith(f"a\n… {10007 - TAIL_BYTES} bytes more\n{'b' * (TAIL_BYTES - 7)}the end")
    assert (output.end, output.content.decode()) == (output.tail, output.text())
    assert open_descriptors.only()


def test_an_end_that_follows_at_once_leaves_nothing_out() -> None:
    output = captured(all_of(b"a" * KEPT_BYTES, b"the end"))
    assert output.text() == "a" * KEPT_BYTES + "the end"
    assert output.end == b"a" * (TAIL_BYTES - 7) + b"the end"


def test_what_is_not_kept_is_read_with_pauses_and_all_of_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.capture.OUTPUT_PAUSE_SECONDS", 0.2)
    wrote: list[int] = []

    async def flood() -> None:
        capture = Capture(wrote.append)
        writer = capture.open()
        for piece in (KEPT_BYTES, 1, 2, 3):
            os.write(writer, b"x" * piece)
            for _ in range(5):
                await asyncio.sleep(0)
        # What was more than is kept was read, and nothing after it.
        assert wrote == [KEPT_BYTES, 1]
        await asyncio.sleep(0.3)
        assert wrote == [KEPT_BYTES, 1, 5]
        os.write(writer, b"the end")
        capture.finish()
        assert (sum(wrote), capture.output().size) == (KEPT_BYTES + 13, KEPT_BYTES + 13)

    asyncio.run(flood())


def test_what_is_little_is_all_its_end() -> None:
    assert captured(all_of(b"a", b"b")) == Output(b"ab", 2)
    assert captured(all_of(b"a", b"b")).end == b"ab"


def test_what_is_diverted_is_no_output_until_it_is_taken_back() -> None:
    def write(capture: Capture, writer: int) -> None:
        os.write(writer, b"before ")
        capture.divert()
        os.write(writer, b"apart")
        assert capture.diverted() == b"apart"
        os.write(writer, b"behind")
        capture.take_back(b"back ")

    assert captured(write).kept == b"before back behind"


def test_of_a_flood_the_beginning_is_diverted_and_the_rest_is_counted() -> None:
    def write(capture: Capture, writer: int) -> None:
        capture.divert()
        for _ in range(DIVERTED_BYTES // KEPT_BYTES + 1):
            os.write(writer, b"x" * KEPT_BYTES)
            capture.catch_up()
        assert capture.diverted() == b"x" * DIVERTED_BYTES

    assert captured(write).size == KEPT_BYTES
