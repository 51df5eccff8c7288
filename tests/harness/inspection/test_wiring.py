"""Who is at the other end, in small worlds that are made of nothing but facts."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import pytest

from harness.facets import Way
from harness.hang import Doing, Holder, Part, ThreadState, Waited
from harness.inspection.processes import Entry, Process, Thread
from harness.inspection.sockets import UnixSocket
from harness.inspection.syscalls import Wait
from harness.inspection.wiring import (
    ENDS_MAX,
    HELD_BY_NOBODY,
    HOLDERS_MAX,
    SUPERVISOR_HAS_IT,
    UNKNOWN,
    WAITED_MAX,
    Named,
    Seen,
    Wiring,
    named_by,
)
from sandbox.abi import ABSTRACT_PREFIX

TOKEN: Final = "T" * 27
CONTROL: Final = {"socket:[50]": Named("control_channel", "ConnectedSocket")}


def pair(left: int, right: int) -> dict[int, UnixSocket]:
    return {left: UnixSocket(left, "SEQPACKET", peer=right), right: UnixSocket(right, "SEQPACKET", peer=left)}


def worker(table: Mapping[int, str | Entry], wait: Wait | None = None, *, state: str = "S", **facts: object) -> Seen:
    """Return a worker with one thread, in `wait`, and a table: number → identity."""
    entries = tuple(entry if isinstance(entry, Entry) else Entry(number, entry) for number, entry in table.items())
    return Seen((Process(1, "x", (Thread(1, state, wait),), entries),), **facts)  # type: ignore[arg-type]


def state_in(
    workers: Mapping[str, Seen],
    sockets: Mapping[int, UnixSocket] | None = None,
    ways: Sequence[Way] = (),
    ours: Sequence[str] = (),
) -> ThreadState:
    """Return where the thread of the worker w is."""
    (state,), _ = Wiring(workers, sockets, ways, ours).threads("w")
    return state


def waited_in(*world: object) -> Waited:
    (waited,) = state_in(*world).waited  # type: ignore[arg-type]
    return waited


READS_7: Final = Wait("recvmsg", reads=(7,))


def test_the_other_end_is_wherever_somebody_holds_it() -> None:
    workers = {
        "w": worker({7: "socket:[1]", 9: "socket:[2]"}, READS_7),
        "x": worker({4: "socket:[2]", 5: "socket:[3]"}, named={"socket:[2]": Named("end", "DataOnlySocket")}),
    }
    waited = waited_in(workers, pair(1, 2) | pair(3, 4))
    assert waited == Waited(7, "", "SEQPACKET socket", writes=False, holders=(Holder("w", 9), Holder("x", 4, "end")))


def test_a_number_that_is_not_in_the_table_and_a_socket_that_is_not_known_are_said_to_be() -> None:
    assert waited_in({"w": worker({}, READS_7)}).kind == "no descriptor"
    unknown = waited_in({"w": worker({7: "socket:[1]"}, READS_7)}, None)
    assert (unknown.outside, unknown.remark) == (True, UNKNOWN)


def test_of_a_pipe_those_count_who_hold_it_the_other_way_round() -> None:
    reader, writer = (Entry(7, "pipe:[1]", writes=False), Entry(8, "pipe:[1]", reads=False))
    workers = {"w": worker({7: reader}, READS_7), "x": worker({7: reader, 8: writer})}
    assert waited_in(workers).holders == (Holder("x", 8),)
    ours = waited_in({"w": worker({8: writer}, Wait("write", writes=(8,)))}, {}, (), ["pipe:[1]"])
    assert (ours.holders, ours.remark) == ((), SUPERVISOR_HAS_IT)


def test_what_an_epoll_watches_is_what_is_waited_for() -> None:
    epoll = Entry(6, "anon_inode:[eventpoll]", watched=(7,))
    table: dict[int, str | Entry] = {6: epoll, 7: "socket:[1]", 8: "socket:[2]"}
    waited = waited_in({"w": worker(table, Wait("epoll_wait", reads=(6,), epoll=True))}, pair(1, 2))
    assert (waited.number, waited.holders) == (7, (Holder("w", 8),))


def test_the_control_channel_is_idleness_unless_an_export_is_owed() -> None:
    sockets = pair(50, 51)
    seen = worker({5: "socket:[50]"}, Wait("recvmsg", reads=(5,)), named=CONTROL)
    assert state_in({"w": seen}, sockets, (), ["socket:[51]"]).doing is Doing.IDLE
    owed = state_in({"w": replace(seen, owed=(("x", ""), ("x", "more")))}, sockets, (), ["socket:[51]"])
    assert (owed.doing, sorted(owed.waited[0].awaited)) == (Doing.WAITING, ["x"])
    sends = worker({5: "socket:[50]"}, Wait("sendmsg", writes=(5,)), named=CONTROL)
    full = state_in({"w": sends}, sockets, (), ["socket:[51]"])
    assert (full.doing, full.waited[0].remark) == (Doing.WAITING, SUPERVISOR_HAS_IT)


# x exports the pair 1 (its BoundSocket) and 2 (the address); w holds the address 3 of a facet whose end 4 is ours.
FACET: Final = Way(address="socket:[3]", bound="socket:[4]", target="socket:[2]", held="")
FACET_SOCKETS: Final = pair(1, 2) | pair(3, 4)
OURS: Final = ("socket:[2]", "socket:[4]")


def test_a_facet_is_seen_through_both_ways() -> None:
    connects = worker({6: "socket:[3]"}, Wait("sendmsg", writes=(6,)))
    waited = waited_in({"w": connects, "x": worker({3: "socket:[1]"})}, FACET_SOCKETS, (FACET,), OURS)
    assert waited.holders == (Holder("x", 3),)
    accepts = worker({3: "socket:[1]", 4: "socket:[2]"}, Wait("recvmsg", reads=(3,)))
    waited = waited_in({"w": accepts, "x": worker({6: "socket:[3]"})}, FACET_SOCKETS, (FACET,), OURS)
    assert waited.holders == (Holder("w", 4), Holder("x", 6))


def test_a_facet_that_leads_to_a_facet_is_seen_through_both_ways() -> None:
    # v holds the address 5 of a facet that leads to the address 3, which w exported.
    ways = (FACET, Way(address="socket:[5]", bound="socket:[6]", target="socket:[3]", held=""))
    sockets, ours = FACET_SOCKETS | pair(5, 6), (*OURS, "socket:[3]", "socket:[6]")
    connects = worker({6: "socket:[5]"}, Wait("sendmsg", writes=(6,)))
    waited = waited_in({"w": connects, "x": worker({3: "socket:[1]"})}, sockets, ways, ours)
    assert waited.holders == (Holder("x", 3),)
    accepts = worker({3: "socket:[1]"}, Wait("recvmsg", reads=(3,)))
    workers = {"w": accepts, "x": worker({7: "socket:[3]"}), "v": worker({6: "socket:[5]"})}
    assert waited_in(workers, sockets, ways, ours).holders == (Holder("x", 7), Holder("v", 6))


def test_a_connection_that_the_supervisor_holds_back_lies_in_the_exporters_queue() -> None:
    way = replace(FACET, held="socket:[8]")
    workers = {"w": worker({6: "socket:[3]", 7: "socket:[9]"}, READS_7), "x": worker({3: "socket:[1]"})}
    waited = waited_in(workers, FACET_SOCKETS | pair(8, 9), (way,), OURS)
    assert (waited.queued, waited.holders) == (True, (Holder("x", 3),))


def test_an_end_that_nobody_holds_and_no_queue_explains_is_said_to_be_with_nobody() -> None:
    workers = {"w": worker({6: "socket:[3]", 7: "socket:[9]"}, READS_7), "x": worker({3: "socket:[1]"})}
    waited = waited_in(workers, FACET_SOCKETS | pair(8, 9), (FACET,), OURS)
    assert (waited.queued, waited.holders, waited.remark) == (False, (), HELD_BY_NOBODY)


def test_a_queue_of_messages_is_not_taken_for_one_of_connections() -> None:
    # w may have sent the other end to x as a message; but what carries messages has none that wait to be accepted.
    busy = pair(1, 2)
    busy[1] = replace(busy[1], queued=5)
    for kind, queued in (("BoundSocket", True), ("ConnectedSocket", False)):
        workers = {
            "w": worker({6: "socket:[2]", 7: "socket:[9]"}, READS_7),
            "x": worker({3: "socket:[1]"}, named={"socket:[1]": Named("it", kind)}),
        }
        assert waited_in(workers, busy | pair(8, 9)).queued is queued


def test_a_listeners_name_leads_to_it_and_its_token_to_those_who_may_connect() -> None:
    name = (ABSTRACT_PREFIX + TOKEN.encode()).ljust(108, b"\0")
    sockets = {1: UnixSocket(1, "SEQPACKET", listening=True, name=name), 5: UnixSocket(5, "SEQPACKET")}
    holders = {"x": worker({3: "socket:[1]"})}
    waits = worker({8: "socket:[5]"}, Wait("connect", writes=(8,), name=name))
    assert waited_in({"w": waits, **holders}, sockets).holders == (Holder("x", 3),)
    accepts = worker({3: "socket:[1]"}, Wait("accept4", reads=(3,)))
    assert waited_in({"w": accepts, "x": worker({6: f"token:{TOKEN}"})}, sockets).holders == (Holder("x", 6),)


def polling(threads: int, descriptors: int, identity: str = "") -> Seen:
    """Return a worker with so many threads that all poll so many descriptors."""
    entries = tuple(Entry(number, identity or f"socket:[{number}]") for number in range(1, descriptors + 1))
    wait = Wait("poll", reads=tuple(entry.number for entry in entries))
    return Seen((Process(1, "x", tuple(Thread(number, "S", wait) for number in range(threads)), entries),))


@pytest.mark.usefixtures("deadline")
def test_whoever_polls_thousands_in_hundreds_of_threads_is_looked_at_in_no_time() -> None:
    sockets = {number: UnixSocket(number, "DGRAM", unread=1) for number in range(1, 4001)}
    began = time.process_time()
    states, unseen = Wiring({"w": polling(256, 4000)}, sockets, (), ()).threads("w")
    assert time.process_time() - began < 2
    assert (len(states), len(states[0].waited)) == (256, WAITED_MAX)
    assert unseen == {Part.WAITED}


def test_of_many_copies_of_one_end_a_few_are_told_and_all_of_them_together_are_bounded() -> None:
    workers = {"w": polling(256, 64, "socket:[1]"), "x": worker(dict.fromkeys(range(100), "socket:[2]"))}
    states, unseen = Wiring(workers, pair(1, 2), (), ()).threads("w")
    waited = [one for state in states for one in state.waited]
    assert {len(one.holders) for one in waited} == {HOLDERS_MAX}
    assert len(waited) <= ENDS_MAX / HOLDERS_MAX
    assert unseen == {Part.WAITED}


def test_what_was_left_out_is_told_and_nothing_is_where_all_was_looked_at() -> None:
    def unseen(seen: Seen, until: float = math.inf) -> frozenset[Part]:
        return Wiring({"w": seen}, pair(1, 2), (), ()).threads("w", until)[1]

    seen = worker({7: "socket:[1]"}, READS_7)
    assert unseen(seen) == frozenset()
    assert unseen(seen, 0) == {Part.WAITED}
    assert unseen(worker({}, Wait("poll", more=True))) == {Part.WAITED}
    epoll = Entry(6, "anon_inode:[eventpoll]", more=True)
    assert unseen(worker({6: epoll}, Wait("epoll_wait", reads=(6,), epoll=True))) == {Part.WAITED}
    (process,) = seen.processes
    assert unseen(Seen((replace(process, unseen=frozenset({Part.THREADS})),))) == {Part.THREADS}


def test_a_descriptor_that_is_polled_a_thousand_times_is_one() -> None:
    (state,), unseen = Wiring({"w": worker({7: "socket:[1]"}, Wait("poll", reads=(7,) * 1000))}, {}, (), ()).threads(
        "w"
    )
    assert ([one.number for one in state.waited], unseen) == ([7], frozenset())


@pytest.mark.parametrize("told", [5, "x", [5], [{"kind": 1, "identity": "x"}], [{"kind": "K"}], {}])
def test_a_result_without_descriptors_names_none(told: object) -> None:
    assert list(named_by({"as": ["x"]}, {"descriptors": told})) == []


def test_states_of_threads() -> None:
    assert state_in({"w": worker({}, READS_7, state="T")}).doing is Doing.STOPPED
    assert state_in({"w": worker({}, None, state="R")}).doing is Doing.RUNNING
    assert state_in({"w": worker({}, None, state="D")}).doing is Doing.WAITING
    assert state_in({"w": worker({}, Wait("clock_nanosleep", timed=True, sleeps=True))}).doing is Doing.SLEEPING
    unseen = Seen((Process(1, "x", (Thread(1, "S", None, seen=False, place="unix_wait"),), ()),))
    assert (state_in({"w": unseen}).doing, state_in({"w": unseen}).call) == (Doing.UNSEEN, "unix_wait")
