"""Where a text is cut, what a word is, and the text itself."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sandbox.programs import corpus
from sandbox.programs.word_count import counted, cuts

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
