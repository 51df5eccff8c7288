"""The graph of who waits for whom, against a plain reading of what its words mean."""

from collections.abc import Mapping
from itertools import permutations
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.hang import HOLDINGS, Circle, Doing, Edge, Forgotten, Hang, Holder, Part, ThreadState, Waited, WorkerState
from harness.inspection.deadlock import explain

NAMES: Final = ("a", "b", "c", "d", "e")


def thread(*awaited: str, doing: Doing = Doing.WAITING, timed: bool = False, outside: bool = False) -> ThreadState:
    holders = tuple(Holder(name, 9) for name in awaited)
    waited = (Waited(7, "", "socket", writes=False, holders=holders, outside=outside),) if holders or outside else ()
    return ThreadState(1, 1, doing, "recvmsg", waited, timed)


def worker(name: str, *threads: ThreadState, doing: Doing = Doing.WAITING) -> WorkerState:
    return WorkerState(name, doing, threads)


def explained(*workers: WorkerState) -> Hang:
    return explain({state.name: state for state in workers})


def edge(waiter: str, awaited: str) -> Edge:
    return Edge(waiter, awaited, "recvmsg on 7")


def test_three_that_wait_for_one_another_are_a_deadlock() -> None:
    hang = explained(worker("a", thread("b")), worker("b", thread("c")), worker("c", thread("a")))
    assert hang.circles == (Circle((edge("a", "b"), edge("b", "c"), edge("c", "a")), ()),)


@pytest.mark.parametrize(
    "way_out",
    [
        worker("c", doing=Doing.RUNNING),
        worker("c", doing=Doing.SLEEPING),
        worker("c", doing=Doing.UNSEEN),
        worker("c", thread("a", timed=True)),
        worker("c", thread(outside=True)),
    ],
    ids=["running", "sleeping", "unseen", "for a time only", "the world"],
)
def test_a_circle_that_somebody_may_still_end_is_told_with_who(way_out: WorkerState) -> None:
    hang = explained(worker("a", thread("b")), worker("b", thread("a", "c")), way_out)
    (circle,) = hang.circles
    assert circle == Circle((edge("a", "b"), edge("b", "a")), ("c",))


@pytest.mark.parametrize("part", Part)
def test_who_was_not_looked_at_to_the_end_may_act(part: Part) -> None:
    unseen = WorkerState("b", Doing.WAITING, (thread("a"),), unseen=frozenset({part}))
    hang = explained(worker("a", thread("b")), unseen)
    assert [circle.ways_out for circle in hang.circles] == [("b",)]


@pytest.mark.parametrize("part", Part)
def test_who_may_hold_more_than_was_looked_at_may_end_what_others_wait_for(part: Part) -> None:
    stranger = WorkerState("stranger", Doing.IDLE, unseen=frozenset({part}))
    hang = explained(worker("a", thread("b")), worker("b", thread("a")), worker("c", thread("c")), stranger)
    may_end = part in HOLDINGS
    assert [circle.ways_out for circle in hang.circles] == [("stranger",) if may_end else ()]
    assert bool(hang.forgotten) is not may_end


def test_what_a_worker_has_forgotten_is_not_said_where_not_all_of_it_was_looked_at() -> None:
    forgetful = WorkerState("a", Doing.WAITING, (thread("a"),), unseen=frozenset({Part.THREADS}))
    assert explained(forgetful).forgotten == ()


def test_one_who_waits_for_another_in_many_ways_waits_for_it_once() -> None:
    many = tuple(Waited(number, "", "socket", writes=False, holders=(Holder("b", 9),)) for number in range(50))
    state = worker("a", *[ThreadState(1, index, Doing.WAITING, "poll", many) for index in range(8)])
    assert explained(state, worker("b")).edges == (Edge("a", "b", "poll on 0"),)


def test_who_has_ended_is_stopped_or_idle_is_no_way_out() -> None:
    for doing in (Doing.ENDED, Doing.STOPPED, Doing.IDLE):
        hang = explained(worker("a", thread("b")), worker("b", thread("a", "c")), worker("c", doing=doing))
        assert [circle.ways_out for circle in hang.circles] == [()]


@pytest.mark.parametrize(
    ("holders", "others", "forgotten"),
    [
        (["a"], {}, True),
        (["b"], {"b": Doing.IDLE}, True),
        (["a", "b"], {"b": Doing.IDLE}, True),
        (["b", "c"], {"b": Doing.IDLE, "c": Doing.RUNNING}, False),
        (["b"], {"b": Doing.WAITING}, False),
        (["b"], {"b": Doing.STOPPED}, False),
        ([], {}, False),
    ],
)
def test_forgotten_is_what_only_the_idle_or_the_waiter_itself_hold(
    holders: list[str], others: Mapping[str, Doing], forgotten: bool
) -> None:
    waits = thread(*holders)
    hang = explained(worker("a", waits), *(worker(name, doing=doing) for name, doing in others.items()))
    assert hang.forgotten == ((Forgotten("a", "recvmsg", waits.waited),) if forgotten else ())


def test_what_the_world_may_end_is_not_forgotten() -> None:
    assert explained(worker("a", thread("a", outside=True))).forgotten == ()


threads = st.builds(
    lambda awaited, timed, outside: thread(*awaited, timed=timed, outside=outside),
    st.lists(st.sampled_from(NAMES), max_size=3),
    st.booleans(),
    st.booleans(),
)
systems = st.fixed_dictionaries(
    {
        name: st.builds(
            lambda states, doing, name=name: WorkerState(name, doing, tuple(states)),
            st.lists(threads, max_size=2),
            st.sampled_from(Doing),
        )
        for name in NAMES
    }
)


def shortest(arrows: set[tuple[str, str]], among: set[str]) -> int:
    """Return the length of the shortest circle among these, by trying all."""
    for length in range(2, len(among) + 1):
        for path in permutations(sorted(among), length):
            if all(pair in arrows for pair in zip(path, (*path[1:], path[0]), strict=True)):
                return length
    raise AssertionError("there is none")


@given(systems)
def test_circles_are_told_once_each_as_short_as_can_be_and_with_every_way_out(system: dict[str, WorkerState]) -> None:
    hang = explain(system)
    arrows = {
        (state.name, name)
        for state in system.values()
        for one in state.threads
        for waited in one.waited
        for name in waited.awaited
        if name != state.name
    }
    assert {(found.waiter, found.awaited) for found in hang.edges} == arrows
    reach = set(arrows)
    for middle in NAMES:
        reach |= {(x, z) for x, y in reach if y == middle for w, z in reach if w == middle}
    sets = {frozenset(y for y in NAMES if (x, y) in reach and (y, x) in reach) for x in NAMES if (x, x) in reach}
    circles = {frozenset(found.waiter for found in circle.edges): circle for circle in hang.circles}
    assert len(hang.circles) == len(circles) == len(sets)
    for members, circle in circles.items():
        (whole,) = (one for one in sets if members <= one)
        ends = [(found.waiter, found.awaited) for found in circle.edges]
        assert set(ends) <= arrows
        assert [after for _, after in ends] == [before for before, _ in (*ends[1:], ends[0])]
        assert len(ends) == len(members) == shortest(arrows, set(whole))
        may_act = {
            state.name
            for state in system.values()
            if state.doing in {Doing.RUNNING, Doing.SLEEPING, Doing.UNSEEN}
            or any(one.timed or any(waited.outside for waited in one.waited) for one in state.threads)
        }
        assert set(circle.ways_out) == {y for x, y in reach if x in members} & may_act


@pytest.mark.usefixtures("deadline")
def test_many_who_all_wait_for_all_are_explained_in_no_time() -> None:
    names = [f"w{index}" for index in range(150)]
    hang = explained(*(worker(name, thread(*names)) for name in names))
    assert [len(circle.edges) for circle in hang.circles] == [2]
