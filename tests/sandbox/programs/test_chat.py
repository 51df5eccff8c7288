"""Whose turn it is, and what the judge finds."""

import json
import random
from collections import deque
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import MalformedMessage
from sandbox.imc import Imc
from sandbox.programs.chat import (
    LINES_AT_ONCE,
    Entry,
    Turn,
    digest_of,
    faults_in_lines,
    faults_in_visits,
    line_of,
    visits_in,
)
from sandbox.programs.chat_room import JOINED, LEFT, QUEUE_MAX, SAID
from sandbox.programs.messages import Heard, memory_of

LINES = 20


@given(speakers=st.integers(1, 6), chance=st.randoms(use_true_random=False))
def test_somebody_can_always_go_on_and_nobody_falls_far_behind(speakers: int, chance: random.Random) -> None:
    """A room of our own: what is said is heard by each speaker some time later, in one order."""
    names = [f"speaker.{number}" for number in range(speakers)]
    turns = {name: Turn(name, names) for name in names}
    unsaid = dict.fromkeys(names, LINES)
    unheard: dict[str, deque[str]] = {name: deque() for name in names}
    while any(unsaid.values()):
        able = [name for name in names if unheard[name] or (turns[name].has_come() and unsaid[name])]
        assert able, "nobody can go on"
        name = chance.choice(able)
        if unheard[name]:
            turns[name].hear(SAID, unheard[name].popleft(), speaks=False)
        elif turns[name].has_come():
            turns[name].spoke(LINES_AT_ONCE)
            unsaid[name] -= LINES_AT_ONCE
            for queue in unheard.values():
                queue.extend([name] * LINES_AT_ONCE)
        if not unsaid[name]:
            for other in names:
                # Who has nothing more to say leaves.
                turns[other].hear(LEFT, name, speaks=False)
        assert max(map(len, unheard.values())) <= 2 * LINES_AT_ONCE * speakers < QUEUE_MAX


def test_who_comes_later_is_waited_for_until_it_is_gone() -> None:
    turn = Turn("a", [])
    turn.hear(JOINED, "b", speaks=True)
    turn.hear(JOINED, "listener", speaks=False)
    assert turn.has_come()
    turn.spoke(1)
    assert not turn.has_come()
    turn.hear(SAID, "a", speaks=False)
    assert not turn.has_come()
    turn.hear("vanished", "b", speaks=False)
    assert turn.has_come()
    turn.end()
    assert not turn.has_come()


def heard_by(name: str, first: int, *between: tuple[str, str, str]) -> tuple[str, list[Entry]]:
    """Return a visit: from the number of its joining on, and what happened between that and its leaving."""
    events = [(JOINED, name, ""), *between, (LEFT, name, "")]
    return name, [[first + index, *event] for index, event in enumerate(events)]


def said(name: str, number: int) -> tuple[str, str, str]:
    return SAID, name, digest_of(line_of(name, number))


VISITS = [
    heard_by("a", 0, (JOINED, "b", ""), said("a", 0), said("b", 0), (LEFT, "b", ""), said("a", 1)),
    heard_by("b", 1, said("a", 0), said("b", 0)),
]


def test_what_is_right_has_no_faults() -> None:
    assert list(faults_in_visits(VISITS)) == []
    assert list(faults_in_lines(VISITS, {"a": 2, "b": 1})) == []
    assert list(faults_in_lines(VISITS, {"a": None, "b": None, "c": 0})) == []


def told(data: bytes, kind: str = "heard", body: object = None) -> Heard:
    """Return a message of a member of whom the judge knows nothing yet."""
    memory = memory_of(Imc("socketpair"), data)
    return Heard(kind, {"name": "a", "bytes": len(data)} if body is None else body, (memory,))


def test_what_a_member_tells_is_what_it_heard() -> None:
    heard = [entries for name, entries in VISITS if name == "a"]
    assert visits_in(told(json.dumps(heard).encode())) == VISITS[:1]
    assert visits_in(told(b"[]")) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no JSON",
        b"[" * 100_000,
        b"{}",
        b"[[]]",
        b"[1]",
        b"[[1]]",
        b"[[[]]]",
        b'[[[0, "joined", "a"]]]',
        b'[[["0", "joined", "a", ""]]]',
        b'[[[0, ["joined"], "a", ""]]]',
        b'[[[0, "joined", {}, ""]]]',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_nobody_can_have_heard_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        visits_in(told(data))


@pytest.mark.parametrize(
    ("kind", "body"),
    [("x", None), ("heard", []), ("heard", {}), ("heard", {"name": ["a"], "bytes": 2}), ("heard", {"name": "a"})],
    ids=repr,
)
def test_who_tells_nothing_of_what_was_heard_is_malformed(kind: str, body: object) -> None:
    message = told(b"[]", kind, body)
    with pytest.raises(MalformedMessage):
        visits_in(message)
    assert message.descriptors[0].fileno() == -1


@pytest.mark.parametrize("index", range(1, 4))
def test_what_was_missed_is_found(index: int) -> None:
    visits = deepcopy(VISITS)
    del visits[0][1][index]
    assert list(faults_in_visits(visits)) == [f"a heard {index + 1} after {index - 1}"]


def test_another_order_is_found() -> None:
    visits = deepcopy(VISITS)
    heard = visits[1][1]
    heard[1][1:], heard[2][1:] = heard[2][1:], heard[1][1:]
    assert len(list(faults_in_visits(visits))) == 2


def test_a_visit_that_ends_too_early_is_found() -> None:
    visits = deepcopy(VISITS)
    visits[1][1].pop()
    assert list(faults_in_visits(visits)) == ["what b heard does not reach from its joining to its leaving"]


@pytest.mark.parametrize("lines", [{"a": 3}, {"a": 1}, {"c": 1}], ids=str)
def test_a_line_too_few_or_too_many_is_found(lines: dict[str, int]) -> None:
    (name,) = lines
    assert list(faults_in_lines(VISITS, lines)) == [f"{name} was not heard as it spoke"]


def test_lines_out_of_order_are_found_though_any_number_will_do() -> None:
    visits = [heard_by("a", 0, said("a", 1), said("a", 0))]
    assert list(faults_in_lines(visits, {"a": None})) == ["a was not heard as it spoke"]
