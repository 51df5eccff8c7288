"""What arrives on a stderr while a stack was asked for: which of it is the stack, and which is the worker's own."""

import asyncio
import os
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.capture import DIVERTED_BYTES, Capture
from harness.inspection.stacks import LINE_MAX, LINES_MAX, LINES_SEEN_MAX, can_answer, split, stack_of
from harness.launcher import ROOT
from harness.spawn import Process
from sandbox.abi import STACKS_SIGNAL

HEAD = b"Current thread 0x00007efd807bab80 (most recent call first):\n"
FRAME = b'  File "/x/program.py", line 3 in main\n'


def test_a_stack_is_told_from_what_the_worker_wrote_before_and_behind_it() -> None:
    told, own = split(b"before\n" + HEAD + FRAME + b"\nbehind")
    assert told == ("Current thread 0x00007efd807bab80 (most recent call first):", FRAME.decode().rstrip("\n"))
    assert own == b"before\n\nbehind"


def test_a_stack_may_begin_in_the_middle_of_what_the_worker_was_writing() -> None:
    told, own = split(b"x" * 700 + HEAD + FRAME + b"xx\n")
    assert [line.split()[0] for line in told] == ["Current", "File"]
    assert own == b"x" * 700 + b"xx\n"


def test_what_lies_below_the_program_is_left_out_in_each_thread() -> None:
    below = f'  File "{ROOT}/sandbox/start.py", line 9 in run_program\n  File "<string>", line 1 in <module>\n'.encode()
    told, own = split(HEAD + FRAME + below + HEAD + FRAME)
    assert [line.split()[0] for line in told] == ["Current", "File", "Current", "File"]
    assert own == b""


def test_every_later_pythons_head_is_one() -> None:
    named = b"Thread 0x00007efd807bab80 [MainThread] (most recent call first):\n"
    assert split(named + b"  <no Python frame>\n  ...\n") == (
        (named.decode().rstrip("\n"), "  <no Python frame>", "  ..."),
        b"",
    )


@given(st.lists(st.sampled_from([HEAD, FRAME, b"x\n", b"\x1b[2J\n", b'  File "\xff\x1b", line 1 in \x07\n', b"\n"])))
def test_nothing_that_is_no_stack_is_lost_or_put_in_another_order(lines: list[bytes]) -> None:
    told, own = split(b"".join(lines))
    assert own == b"".join(line for line in lines if line in {b"x\n", b"\x1b[2J\n", b"\n"})
    assert len(told) <= LINES_MAX


@given(st.binary())
def test_no_bytes_make_it_fail(written: bytes) -> None:
    split(written)


def test_a_forged_stack_is_bounded() -> None:
    told, own = split(b'  File "' + b"x" * 10000 + b'", line 1 in f\n' + FRAME * 10000)
    assert (len(told), own) == (LINES_MAX, b"")
    assert max(map(len, told)) <= LINE_MAX


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("piece", [b"Thread 0x1 ", b'  File "', b'", line 1', b" in ", b'", line 1 in "'])
def test_no_line_takes_long_to_be_told_from_a_stack(piece: bytes) -> None:
    began = time.process_time()
    split(piece * (DIVERTED_BYTES // len(piece)))
    assert time.process_time() - began < 1


@pytest.mark.usefixtures("deadline")
def test_many_empty_lines_are_looked_through_no_further_than_a_stack_may_go() -> None:
    written = b"\n" * LINES_SEEN_MAX + HEAD + FRAME
    assert split(written) == ((), written)


def test_what_a_worker_writes_while_it_is_asked_stays_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> tuple[tuple[str, ...], bytes]:
        capture = Capture(lambda _: None)
        writer = capture.open()
        os.write(writer, b"before\n")
        monkeypatch.setattr(
            signal, "pidfd_send_signal", lambda *_: os.write(writer, b"own\n" + HEAD + FRAME + b"more\n")
        )
        told = await stack_of(Process(os.getpid(), -1, asyncio.get_running_loop().create_future()), capture)
        capture.finish()
        return told, capture.output().kept

    told, kept = asyncio.run(ask())
    assert [line.split()[0] for line in told] == ["Current", "File"]
    assert kept == b"before\nown\nmore\n"


def test_who_has_no_handler_for_the_signal_cannot_answer() -> None:
    everything = sum(1 << number - 1 for number in signal.valid_signals())
    assert can_answer(everything)
    assert not can_answer(everything & ~(1 << STACKS_SIGNAL - 1))
