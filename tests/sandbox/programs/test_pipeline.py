"""What the stages do, however the data comes in pieces, and when it ends."""

import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.abi import USER_BYTES_MAX
from sandbox.errors import EndOfStream
from sandbox.programs.pipeline import WORK, hand_out, handed_out, received, send, told
from tests.kernel import Background
from tests.sandbox.connections import Link

TEXTS = st.lists(st.sampled_from([b"a", b"#", b" ", b"\n", b"\t", b"\r", b"# b\n"])).map(b"".join)


def in_pieces(text: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[begin:end] for begin, end in pairwise(ends)]


@pytest.mark.parametrize("work", ["upper", "strip"])
@given(text=TEXTS, places=st.lists(st.integers(0, 100)))
def test_a_stage_makes_of_pieces_what_it_makes_of_the_whole(work: str, text: bytes, places: list[int]) -> None:
    assert b"".join(WORK[work].flow(in_pieces(text, places))) == WORK[work].whole(text)


@given(text=TEXTS, places=st.lists(st.integers(0, 100)))
def test_what_was_compressed_is_the_same_again(text: bytes, places: list[int]) -> None:
    assert b"".join(WORK["decompress"].flow(WORK["compress"].flow(in_pieces(text, places)))) == text
    assert WORK["decompress"].whole(WORK["compress"].whole(text)) == text


def test_lines_that_are_comments_are_left_out() -> None:
    assert WORK["strip"].whole(b"a # b\n  # c\n\n#d\ne\n#") == b"a # b\n\ne\n"


def test_what_arrives_is_what_was_sent_and_ends_when_the_other_end_does(link: Link) -> None:
    data = os.urandom(3 * USER_BYTES_MAX + 1)
    left, right = link.imc.imc_socketpair()

    def sending() -> None:
        with left:
            send(link.imc, left, [data, b"", data])

    background = Background(sending)
    with right:
        assert told(received(link.imc, right)) == told([data, data])
    background.result()


def test_ends_that_are_handed_out_are_kept_by_nobody_else(link: Link) -> None:
    left, right = link.imc.imc_socketpair()
    hand_out(link.imc, link.server, "upper", left)
    assert left.fileno() == -1
    work, (output,) = handed_out(link.imc, link.client)
    assert work == "upper"
    output.close()
    with right, pytest.raises(EndOfStream):
        link.imc.imc_recvmsg(right)
