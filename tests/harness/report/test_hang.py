"""How a hang is told."""

from dataclasses import replace
from typing import Final

from harness.hang import Circle, Doing, Edge, Forgotten, Hang, Holder, ThreadState, Waited, WorkerState
from harness.report.hang import explanation

TO_B: Final = Waited(8, "to_b", "ConnectedSocket", writes=False, holders=(Holder("b", 9, "to_a"),))
PORT: Final = Waited(3, "bound_socket", "BoundSocket", writes=False, holders=(Holder("a", 4, "address"),))
A: Final = WorkerState("a", Doing.WAITING, (ThreadState(1, 1, Doing.WAITING, "recvmsg", (TO_B,)),), "recvmsg on to_b")
IDLE: Final = WorkerState("bob", Doing.IDLE, stack=("  File",))


def told(*workers: WorkerState, **conclusions: tuple[object, ...]) -> list[str]:
    nothing = {"edges": (), "circles": (), "forgotten": ()}
    hang = Hang({worker.name: worker for worker in workers}, **{**nothing, **conclusions})  # type: ignore[arg-type]
    return explanation(hang)


def test_a_worker_is_told_with_step_call_descriptor_and_its_other_end() -> None:
    assert told(A, IDLE) == [
        "when the deadline passed:",
        "  a    at recvmsg on to_b: recvmsg on 8 'to_b' (ConnectedSocket): the other end is b's 9 'to_a'",
        "  bob  idle: it waits for the scenario",
    ]


def test_output_stack_and_remark_stand_below_it_and_a_single_thread_needs_no_headline() -> None:
    details = replace(A, remark="no luck", last_output={"stderr": "1\n2\n3\n4\n"}, stack=("Thread 0x1:", "  File f"))
    assert told(details)[2:] == [
        f"       {line}" for line in ("no luck", "stderr: 2", "stderr: 3", "stderr: 4", "  File f")
    ]
    several = replace(A, stack=("Thread 0x1:", "  File f", "Thread 0x2:"))
    assert told(several)[2:] == [f"       {line}" for line in several.stack]


def test_a_deadlock_and_a_circle_that_may_still_end_are_told_apart() -> None:
    edges = Edge("a", "b", "recvmsg on 8 'to_b'"), Edge("b", "a", "recvmsg on 9")
    circle = "a waits for b (recvmsg on 8 'to_b'), b waits for a (recvmsg on 9)"
    assert told(edges=edges, circles=(Circle(edges, ()),))[0] == f"deadlock: {circle}"
    out = told(edges=edges, circles=(Circle(edges, ("c",)),))
    assert out == [f"in a circle: {circle}; who may still end it: c", "when the deadline passed:"]


def test_who_is_waited_for_is_told_with_what_they_do() -> None:
    sleeping = WorkerState("b", Doing.SLEEPING, (ThreadState(1, 1, Doing.SLEEPING, "clock_nanosleep", ()),))
    edge = Edge("a", "b", "recvmsg on 8 'to_b'")
    assert told(A, sleeping, edges=(edge,))[0] == (
        "a waits for b (recvmsg on 8 'to_b'); b is sleeping (clock_nanosleep)"
    )


def test_what_was_forgotten_is_told_with_where_it_is() -> None:
    for waited, text in (
        (PORT, "bound_socket'; its address is still held as its own 4 'address'"),
        (replace(PORT, holders=(*PORT.holders, Holder("c", 6))), "as its own 4 'address' and c's 6, which is idle"),
        (replace(TO_B, queued=True), "nobody has accepted the other end, which lies in the queue of b's 9 'to_a'"),
        (replace(TO_B, writes=True), "the full queue is that of b's 9 'to_a', which is idle"),
        (replace(TO_B, holders=(), owing=("b", "c"), remark="for 'x' of b"), "'to_b'; for 'x' of b; b and c are idle"),
    ):
        (line, _) = told(forgotten=(Forgotten("a", "recvmsg", (waited,)),))
        assert line.startswith("forgotten: a waits in recvmsg on ")
        assert text in line


def test_of_many_holders_some_are_named() -> None:
    many = replace(TO_B, holders=tuple(Holder("b", number) for number in range(20)))
    lines = told(
        replace(A, threads=(ThreadState(1, 1, Doing.WAITING, "recvmsg", (many,)),)),
        forgotten=(Forgotten("b", "recvmsg", (many,)),),
    )
    assert lines[0].endswith("its own 6, its own 7 and 12 more")
    assert lines[2].endswith("b's 6, b's 7 and 12 more")


def polling(*numbers: int, thread: int = 1) -> ThreadState:
    waited = tuple(Waited(number, "", "STREAM socket", writes=False, holders=(Holder("b", 9),)) for number in numbers)
    return ThreadState(1, thread, Doing.WAITING, "poll", waited)


def test_of_many_descriptors_that_a_thread_waits_on_some_are_told() -> None:
    many = polling(*range(1000))
    lines = told(replace(A, threads=(many,)), forgotten=(Forgotten("a", "poll", many.waited),))
    assert lines[0].startswith("forgotten: a waits in poll on 0, 1, 2, 3, 4, 5, 6, 7 and 992 more; ")
    assert lines[2].endswith(", and on 7 (STREAM socket): the other end is b's 9, and on 992 more")
    assert max(map(len, lines)) < 1000


def test_threads_that_are_at_the_same_are_told_together_and_of_others_some() -> None:
    same = [polling(7, thread=number) for number in range(200)]
    assert told(replace(A, threads=tuple(same)))[1].endswith("the other end is b's 9 (200 threads)")
    different = [polling(number, thread=number) for number in range(100)]
    lines = told(replace(A, threads=(*same, *different)))
    assert len(lines) == 10
    assert lines[-1].strip() == "and 92 more threads"


def test_of_many_who_are_waited_for_some_are_told() -> None:
    edges = tuple(Edge(waiter, f"w{number}", "poll on 7") for waiter in "ab" for number in range(50))
    lines = told(edges=edges)
    assert [line for line in lines if "more" in line] == ["a waits for 42 more", "b waits for 42 more"]
    assert len(lines) == 19


def test_of_much_that_one_has_forgotten_some_is_told() -> None:
    forgotten = tuple(Forgotten("a", "poll", polling(number).waited) for number in range(50))
    lines = told(forgotten=forgotten)
    assert len(lines) == 10
    assert lines[8] == "forgotten: a waits so in 42 more ways"


def test_nothing_that_a_worker_chose_steers_the_terminal() -> None:
    evil = "\x1b[2J\r\x07\u202e"
    waited = replace(TO_B, kind=evil, remark=evil)
    state = replace(
        A,
        threads=(ThreadState(1, 1, Doing.WAITING, evil, (waited,)),),
        last_output={"stderr": evil},
        stack=(f"  File {evil}",),
        remark=evil,
    )
    forgotten = Forgotten("a", "recvmsg", (replace(TO_B, holders=(), owing=("b",), remark=evil),))
    lines = told(state, forgotten=(forgotten,), edges=(Edge("a", "a", evil),))
    assert all(line.isprintable() for line in lines)
