"""Where a text is cut, what a word is, and the text itself."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.descriptors import ConnectedSocket
from sandbox.errors import EndOfStream
from sandbox.imc import Imc
from sandbox.programs import corpus
from sandbox.programs.messages import hear, memory_of, say
from sandbox.programs.word_count import Tally, counted, counts_in, cuts, gather, hand_over
from tests.kernel import Background
from tests.sandbox.programs.served import Served, served

# Few different bytes, so that whitespace and words come in every arrangement.
TEXTS = st.lists(st.sampled_from([b"a", b"Z", b" ", b"\n", b"0", "é".encode()])).map(b"".join)


@given(TEXTS, st.integers(1, 6))
def test_the_shares_are_the_whole_text_and_no_word_is_cut(text: bytes, shares: int) -> None:
    parts = [text[begin:end] for begin, end in pairwise(cuts(text, shares))]
    assert len(parts) == shares
    assert b"".join(parts) == text
    assert sum(map(counted, parts), Counter()) == counted(text)


def test_shares_are_about_equal() -> None:
    assert cuts(b"word " * 1000, 4) == [0, 1254, 2504, 3754, 5000]


@given(TEXTS)
def test_words_are_counted_as_plain_counts_them(text: bytes) -> None:
    assert counted(text) == Counter(re.findall(rb"[a-z\x80-\xff]+", text.lower()))


def test_a_word_is_a_run_of_letters_whatever_their_case() -> None:
    assert counted("A_a2a Été\tété".encode()) == {b"a": 3, "Été".encode(): 1, "été".encode(): 1}


def test_the_corpus_has_the_sources_over_and_over_until_they_are_enough(tmp_path: Path) -> None:
    for name, source in {"b.py": b"b\n", "a.py": "# coding: latin-1\né\n".encode("latin-1"), "c.txt": b"c"}.items():
        (tmp_path / name).write_bytes(source)
    (tmp_path / "bad.py").write_bytes(b"\xff\n")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "d.py").write_bytes(b"d\n")
    once = "# coding: latin-1\né\n".encode() + b"b\n"
    corpus.write(tmp_path / "corpus", tmp_path, 2 * len(once) + 1)
    assert (tmp_path / "corpus").read_bytes() == once * 2 + once[: -len(b"b\n")]
    assert not (tmp_path / "corpus.part").exists()


# The reducer, and those who mean it ill

COUNTS = {b"a": 1, b"\xff": 2}
DATA = b'{"a": 1}'
SHARES = 2


@pytest.fixture(params=["socketpair", "acknowledged"])
def imc(request: pytest.FixtureRequest) -> Imc:
    # Those whose accept ends with the address.
    return Imc(request.param)


@pytest.fixture
def told() -> list[list[int]]:
    return []


@pytest.fixture
def reducer(imc: Imc, told: list[list[int]]) -> Iterator[Served]:
    tally = Tally(SHARES, told.append)
    with served(imc, lambda connection: gather(imc, connection, tally)) as server:
        yield server


def is_out(reducer: Served, connection: ConnectedSocket) -> bool:
    with pytest.raises(EndOfStream):
        hear(reducer.imc, connection)
    return True


def hand_over_share(reducer: Served, share: int) -> None:
    """Hand over one share as a mapper does, and wait until it was heard."""
    with reducer.connect() as connection:
        hand_over(reducer.imc, connection, COUNTS, share=share)
        assert is_out(reducer, connection)


def answered(reducer: Served) -> dict[bytes, int]:
    with reducer.connect() as connection:
        say(reducer.imc, connection, "ask", {})
        _, body, descriptors = hear(reducer.imc, connection)
        return counts_in(descriptors, body["bytes"])


def assert_goes_on(reducer: Served, told: list[list[int]]) -> None:
    for share in range(SHARES):
        hand_over_share(reducer, share)
    assert answered(reducer) == {word: count * SHARES for word, count in COUNTS.items()}
    assert told == [list(range(SHARES))]


def test_counts_are_gathered_and_told_to_those_who_ask_before_or_after(reducer: Served, told: list[list[int]]) -> None:
    asking = Background(lambda: answered(reducer))
    assert_goes_on(reducer, told)
    assert asking.result() == answered(reducer)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("counts", {}),
        ("counts", None),
        ("counts", {"share": 0}),
        ("counts", {"bytes": len(DATA)}),
        ("counts", {"share": [0], "bytes": len(DATA)}),
        ("counts", {"share": SHARES, "bytes": len(DATA)}),
        ("counts", {"share": -1, "bytes": len(DATA)}),
        ("counts", {"share": 0, "bytes": -1}),
        ("counts", {"share": 0, "bytes": "all"}),
        ("counts", {"share": 0, "bytes": 10**9}),
        ("ask", {}),
        ("x", None),
    ],
    ids=str,
)
def test_one_bad_message_is_the_end_of_its_sender_alone(
    kind: str, body: object, reducer: Served, told: list[list[int]]
) -> None:
    with reducer.connect() as connection, memory_of(reducer.imc, DATA) as memory:
        say(reducer.imc, connection, kind, body, memory)
        assert is_out(reducer, connection)
    assert_goes_on(reducer, told)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no JSON",
        b"\xff\xff",
        b"[" * 100_000,
        b"[]",
        b'{"a": "1"}',
        b'{"a": 1.5}',
        b'{"a": NaN}',
        b'{"a": true}',
        b'{"a": -1}',
        b'{"a": 1' + b"0" * 4000 + b"}",
        b'{"a": 1' + b"0" * 5000 + b"}",
        b'{"a": [1]}',
        b'{"\\ud800": 1}',
    ],
    ids=lambda data: repr(data[:12]),
)
def test_memory_that_has_no_counts_in_it_is_out(data: bytes, reducer: Served, told: list[list[int]]) -> None:
    with reducer.connect() as connection, memory_of(reducer.imc, data) as memory:
        say(reducer.imc, connection, "counts", {"share": 0, "bytes": len(data)}, memory)
        assert is_out(reducer, connection)
    assert_goes_on(reducer, told)


def test_one_that_says_nothing_holds_up_nobody(reducer: Served, told: list[list[int]]) -> None:
    with reducer.connect():
        assert_goes_on(reducer, told)


def test_a_share_that_came_twice_is_told_and_one_too_many_changes_nothing(
    reducer: Served, told: list[list[int]]
) -> None:
    for _ in range(SHARES + 1):
        hand_over_share(reducer, 1)
    assert told == [[1]]
    assert answered(reducer) == {word: count * SHARES for word, count in COUNTS.items()}
