"""Hangs made on purpose, and what is said of them.

A step's deadline is what ends each; long enough that the others have come to wait by then.
"""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

import pytest

from harness import run_topology
from harness.events import Reported
from harness.facets import Way
from harness.hang import Doing, Hang, Part
from harness.inspection import FRAIL, INSPECTION_SECONDS, NO_ANSWER, NO_HANDLER, NO_STDERR, Subject, inspect
from harness.inspection import processes as looking
from harness.launcher import ROOT
from harness.lookout import Lookout
from harness.outcome import Outcome, Status
from harness.report.hang import explanation
from tests import user
from tests.conftest import PATIENCE
from tests.harness.topologies import HEAD, PROBES
from tests.harness.written import write

pytestmark = pytest.mark.waits

Run = Callable[..., Outcome]

# Whose addresses are names.
BY_NAME: Final = ("stream", "datagram")
LATE: Final = "within: 1s"
CONNECTED: Final = "- {at: b, do: connect, address: a, as: to_a}\n- {at: a, do: accept, as: to_b}\n"
CIRCLE: Final = f"{CONNECTED}- {{at: a, do: recvmsg, socket: to_b, {LATE}}}\n- {{at: b, do: recvmsg, socket: to_a}}\n"


WITHOUT_PID_NAMESPACES: Final = 'echo 0 > /proc/sys/user/max_pid_namespaces; exec "$@"'


@pytest.fixture
def run(run: Run, unhurried: None) -> Run:  # noqa: ARG001
    """Return what runs a topology and, where it hangs, looks without haste."""
    return run


def hang_of(outcome: Outcome) -> Hang:
    assert outcome.status is Status.TIMED_OUT, outcome.reason
    assert outcome.hang is not None
    assert all(worker.exit_status == -signal.SIGKILL for worker in outcome.workers.values())
    return outcome.hang


def told(outcome: Outcome) -> list[str]:
    """Return what is told of a hang, without stacks."""
    return [
        line for line in explanation(hang_of(outcome)) if not line.lstrip().startswith(("File", "Thread", "Current"))
    ]


def test_two_that_receive_from_each_other_are_a_deadlock(run: Run, protocol: str) -> None:
    outcome = run(f"{PROBES}scenario:\n{CIRCLE}", protocol=protocol)
    hang = hang_of(outcome)
    ours, theirs = (hang.workers[name].threads[0].waited[0].number for name in "ab")
    assert told(outcome) == [
        f"deadlock: a waits for b (recvmsg on {ours} 'to_b'), b waits for a (recvmsg on {theirs} 'to_a')",
        "when the deadline passed:",
        f"  a  at recvmsg on to_b: recvmsg on {ours} 'to_b' (ConnectedSocket): the other end is b's {theirs} 'to_a'",
        f"  b  at recvmsg on to_a: recvmsg on {theirs} 'to_a' (ConnectedSocket): the other end is a's {ours} 'to_b'",
    ]
    stack = hang.workers["a"].stack
    assert stack[1].startswith(f'  File "{ROOT}/sandbox/imc.py"')
    assert stack[-1].endswith(" in main")
    assert [worker.stderr.size for worker in outcome.workers.values()] == [0, 0]


def test_who_waits_for_connections_and_holds_the_last_address_itself_has_forgotten_that(
    run: Run, protocol: str
) -> None:
    scenario = f"- {{at: b, do: close, descriptor: a}}\n- {{at: a, do: accept, {LATE}}}\n"
    call = "accept4" if protocol == "stream" else "recvmsg"
    report = told(run(f"{PROBES}scenario:\n{scenario}", protocol=protocol))
    where = f"  a  at accept: {call} on 3 'bound_socket' (BoundSocket): its address is a's 4 'address'"
    if protocol in BY_NAME:
        # To close it would change nothing: a name cannot tell.
        told_so = f"{where}; somebody has to connect to its name, and no end of that can be told"
        assert report == ["when the deadline passed:", told_so, "  b  idle: it waits for the scenario"]
        return
    assert report == [
        f"forgotten: a waits in {call} on 3 'bound_socket'; its address is still held as its own 4 'address'",
        "when the deadline passed:",
        where,
        "  b  idle: it waits for the scenario",
    ]


def test_nobody_is_said_to_hold_an_end_that_a_name_does_not_have(run: Run, protocol: str) -> None:
    closes = "- {at: b, do: close, descriptor: a}\n- {at: a, do: close, descriptor: address}\n"
    if protocol in BY_NAME:
        report = told(run(f"{PROBES}scenario:\n{closes}- {{at: a, do: accept, {LATE}}}\n", protocol=protocol))
        assert report[0] == "when the deadline passed:"
        assert report[1].endswith("(BoundSocket): somebody has to connect to its name, and no end of that can be told")
    else:
        ends = f"{PROBES}scenario:\n{closes}- {{at: a, do: accept, expect: {{error: EIO}}}}\n"
        assert run(ends, protocol=protocol).passed


def test_an_importer_that_does_nothing_is_seen_through_its_facet(run: Run, protocol: str) -> None:
    scenario = f"- {{at: a, do: close, descriptor: address}}\n- {{at: a, do: accept, {LATE}}}\n"
    (line, *_) = told(run(f"{PROBES}scenario:\n{scenario}", protocol=protocol))
    if protocol in BY_NAME:
        assert line.startswith("a waits for b (")
        assert line.endswith(" on 3 'bound_socket'); b is idle")
    else:
        assert line.endswith("on 3 'bound_socket'; its address is still held as b's 6 'a', which is idle")


def test_a_number_that_has_become_something_else_is_not_called_as_before(run: Run) -> None:
    # 4 was the address; it is the first to be free, and so the connection's.
    scenario = f"- {{at: a, do: close, descriptor: address}}\n{CIRCLE}"
    hang = hang_of(run(f"{PROBES}scenario:\n{scenario}", protocol="socketpair"))
    (waited,) = hang.workers["a"].threads[0].waited
    assert (waited.number, waited.name, waited.kind) == (4, "to_b", "ConnectedSocket")


FORGOTTEN_COPY: Final = """\
- {at: b, do: socketpair, as: [left, right]}
- {at: b, do: sendmsg, socket: to_a, descriptors: [right]}
- {at: a, do: recvmsg, socket: to_b, as: end}
"""


def test_the_one_who_still_holds_a_copy_of_the_other_end_is_named(run: Run, protocol: str) -> None:
    # c gets a copy of the end that a was to close as the last one.
    topology = PROBES.replace("b: {service", "c: {service_port: exported}\n  b: {service").replace(
        "{grant: a, to: b}", "{grant: a, to: b}, {grant: c, to: b}"
    )
    scenario = (
        f"{CONNECTED}{FORGOTTEN_COPY}"
        "- {at: b, do: connect, address: c, as: to_c}\n- {at: c, do: accept, as: from_b}\n"
        "- {at: b, do: sendmsg, socket: to_c, descriptors: [right]}\n"
        "- {at: c, do: recvmsg, socket: from_b, as: [copy]}\n"
        "- {at: b, do: close, descriptor: right}\n- {at: a, do: close, descriptor: end}\n"
        f"- {{at: b, do: recvmsg, socket: left, {LATE}}}\n"
    )
    outcome = run(f"{topology}scenario:\n{scenario}", protocol=protocol)
    (forgotten,) = hang_of(outcome).forgotten
    (holder,) = forgotten.waited[0].holders
    assert (forgotten.waiter, holder.worker, holder.name) == ("b", "c", "copy")
    assert f"the other end is still held as c's {holder.number} 'copy', which is idle" in told(outcome)[0]


def test_an_own_copy_of_the_other_end_is_named(run: Run, protocol: str) -> None:
    scenario = f"- {{at: b, do: socketpair, as: [left, right]}}\n- {{at: b, do: recvmsg, socket: left, {LATE}}}\n"
    (forgotten,) = hang_of(run(f"{PROBES}scenario:\n{scenario}", protocol=protocol)).forgotten
    assert [(holder.worker, holder.name) for holder in forgotten.waited[0].holders] == [("b", "right")]


def test_a_connection_that_nobody_accepted_lies_in_a_queue_that_is_named(run: Run, protocol: str) -> None:
    # Under acknowledged it is the connect that waits, in all others whoever receives afterwards.
    late = f"- {{at: b, do: connect, address: a, as: to_a, {LATE}}}\n- {{at: b, do: recvmsg, socket: to_a, {LATE}}}\n"
    outcome = run(f"{PROBES}scenario:\n{late}", protocol=protocol)
    assert (
        "nobody has accepted the other end, which lies in the queue of a's 3 'bound_socket', which is idle"
        in (told(outcome)[0])
    )
    assert [(edge.waiter, edge.awaited) for edge in hang_of(outcome).edges][:1] == [("b", "a")]


@pytest.mark.parametrize(
    ("protocol", "connections", "call"),
    [("stream", 7, "connect"), ("datagram", 40, "sendmsg"), ("socketpair", 600, "sendmsg")],
)
def test_a_connect_that_finds_the_queue_full_waits_for_the_one_who_does_not_accept(
    run: Run, protocol: str, connections: int, call: str
) -> None:
    scenario = "".join(f"- {{at: b, do: connect, address: a, as: c{i}, {LATE}}}\n" for i in range(connections))
    outcome = run(f"{PROBES}scenario:\n{scenario}", protocol=protocol)
    (line, *_) = told(outcome)
    assert line.startswith(f"forgotten: b waits in {call} on ")
    assert line.endswith("; the full queue is that of a's 3 'bound_socket', which is idle")


def test_a_send_that_finds_no_room_waits_for_the_one_who_does_not_receive(run: Run, protocol: str) -> None:
    sends = f"- {{at: b, do: sendmsg, socket: to_a, data: {{size: 131072}}, {LATE}}}\n" * 20
    (line, *_) = told(run(f"{PROBES}scenario:\n{CONNECTED}{sends}", protocol=protocol))
    assert line.startswith("forgotten: b waits in sendmsg on ")
    assert "; the full queue is that of a's " in line
    assert line.endswith(" 'to_b', which is idle")


def test_an_address_that_was_promised_and_not_exported_is_waited_for(run: Run, protocol: str) -> None:
    topology = PROBES.replace("grant: a,", "grant: a.extra,")
    scenario = f"- {{at: b, do: connect, address: a.extra, {LATE}}}\n"
    (line, *_) = told(run(f"{topology}scenario:\n{scenario}", protocol=protocol))
    assert line == (
        "forgotten: b waits in recvmsg on 5 'control_channel'; for what was not exported yet: 'extra' of a; a is idle"
    )


def test_a_probe_between_its_steps_is_idle_whatever_it_was_promised(run: Run) -> None:
    topology = PROBES.replace("grant: a,", "grant: a.extra,")
    scenario = f"- {{at: b, do: socketpair}}\n- {{at: a, do: accept, {LATE}}}\n"
    assert hang_of(run(f"{topology}scenario:\n{scenario}", protocol="socketpair")).workers["b"].doing is Doing.IDLE


def test_an_address_that_came_later_is_called_by_its_imports_name(run: Run) -> None:
    topology = PROBES.replace("grant: a,", "grant: a.extra,")
    scenario = (
        "- {at: a, do: makeboundsock, as: [own, its_address]}\n"
        "- {at: a, do: export, address: its_address, name: extra}\n"
        f"- {{at: b, do: connect, address: a.extra, {LATE}}}\n"
    )
    hang = hang_of(run(f"{topology}scenario:\n{scenario}", protocol="acknowledged"))
    (connection, address) = hang.workers["b"].threads[0].waited
    assert (address.name, [holder.name for holder in address.holders]) == ("a.extra", ["own"])
    assert (connection.queued, [holder.name for holder in connection.holders]) == (True, ["own"])


def test_who_waits_for_one_that_the_scenario_has_stopped_is_told_so(run: Run, protocol: str) -> None:
    scenario = f"{CONNECTED}- {{pause: a}}\n- {{at: b, do: recvmsg, socket: to_a, {LATE}}}\n"
    outcome = run(f"{PROBES}scenario:\n{scenario}", protocol=protocol)
    (waited,) = hang_of(outcome).workers["b"].threads[0].waited
    assert told(outcome)[0] == f"b waits for a (recvmsg on {waited}); a is stopped"
    assert (hang_of(outcome).workers["a"].stack, hang_of(outcome).workers["a"].remark) == ((), "")


PROGRAM: Final = """
    import os, select, signal, socket, sys, threading, time

    def sleeps(worker): time.sleep(1000)

    def spins(worker):
        while True: pass

    def pauses(worker): signal.pause()

    def stops(worker): os.kill(os.getpid(), signal.SIGSTOP)

    def executes(worker): os.execv("/bin/sleep", ["sleep", "1000"])

    def blocks(worker):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(1000)

    def redirects(worker):
        os.dup2(1, 2)
        time.sleep(1000)

    def talks(worker):
        sys.stderr.write("one\\ntwo\\n")
        time.sleep(1000)

    def floods(worker):
        while True: os.write(2, b"x" * 5000 + b"\\n")

    def forges(worker):
        forged = b"".join(b'  File "\\x1b[2J%d", line 1 in x\\n' % number for number in range(10000))
        while True: os.write(2, forged)

    def threads(worker):
        for _ in range(3): threading.Thread(target=worker.imc.imc_accept, args=(worker.bound_socket,)).start()

    def polls(worker):
        sockets = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(900)]
        poll_in_threads(8, [sock.fileno() for sock in sockets])

    def copies(worker):
        end, other = socket.socketpair()
        poll_in_threads(8, [os.dup(end.fileno()) for _ in range(400)])

    def poll_in_threads(count, fds):
        def wait():
            poller = select.poll()
            for fd in fds: poller.register(fd, select.POLLIN)
            poller.poll()
        for _ in range(count): threading.Thread(target=wait).start()
        wait()

    def crowd(worker):
        sock = worker.imc.imc_accept(worker.bound_socket)
        for _ in range(5): threading.Thread(target=os.read, args=(sock.fileno(), 1)).start()
        threading.Thread(target=time.sleep, args=(1000,)).start()
        os.read(sock.fileno(), 1)

    def partner(worker):
        sock = worker.imc.imc_connect(worker.imports["guest"])
        os.read(sock.fileno(), 1)
        # Whichever of the two is killed first, the other one stays.
        time.sleep(1000)

    def imports(worker): worker.imports["other.never"]
"""


def state_of(folder: Path, function: str, deadline: str = "within: 1s", more: str = "") -> Outcome:
    """Run one worker, whose program is this function, until the run's deadline."""
    topology = f"""
        {deadline}
        defaults: {{protocol: socketpair}}
        workers:
          guest: {{program: "guest:{function}", service_port: exported, stop: {{within: 100ms}}}}
          {more}
    """
    return run_topology(write(folder, topology, guest=PROGRAM))


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize(
    ("function", "doing", "told_so"),
    [
        ("sleeps", Doing.SLEEPING, "sleeping in clock_nanosleep"),
        ("spins", Doing.RUNNING, "running"),
        ("pauses", Doing.WAITING, "waiting in pause"),
        ("stops", Doing.STOPPED, "stopped, by a signal such as SIGSTOP"),
    ],
)
def test_who_waits_for_nobody_is_told_to_do_what_it_does(
    tmp_path: Path, function: str, doing: Doing, told_so: str
) -> None:
    outcome = state_of(tmp_path, function)
    assert hang_of(outcome).workers["guest"].doing is doing
    assert f"  guest  {told_so}" in told(outcome)


@pytest.mark.parametrize("function", ["sleeps", "spins", "talks", "floods"])
def test_the_stack_names_the_line_of_the_program(tmp_path: Path, function: str) -> None:
    stack = hang_of(state_of(tmp_path, function)).workers["guest"].stack
    assert len(stack) == 2
    assert stack[1].endswith(f" in {function}")


@pytest.mark.parametrize(
    ("function", "why_not"),
    [("pauses", FRAIL), ("executes", NO_HANDLER), ("blocks", NO_ANSWER), ("redirects", NO_STDERR)],
)
def test_whoever_cannot_or_must_not_be_asked_for_a_stack_is_told_so(
    tmp_path: Path, function: str, why_not: str
) -> None:
    worker = hang_of(state_of(tmp_path, function)).workers["guest"]
    assert (worker.stack, worker.remark) == ((), why_not)


@pytest.mark.usefixtures("unhurried")
def test_every_thread_is_told(tmp_path: Path) -> None:
    worker = hang_of(state_of(tmp_path, "threads")).workers["guest"]
    assert sorted(thread.call for thread in worker.threads) == ["futex", "recvmsg", "recvmsg", "recvmsg"]
    assert len([line for line in worker.stack if not line.startswith(" ")]) == 4


def test_the_last_output_is_told_and_the_stack_is_no_part_of_it(tmp_path: Path) -> None:
    outcome = state_of(tmp_path, "talks")
    assert hang_of(outcome).workers["guest"].last_output == {"stderr": "one\ntwo\n"}
    assert outcome.workers["guest"].stderr.kept == b"one\ntwo\n"


def test_a_flood_is_waited_for_no_longer_than_anything_else(tmp_path: Path) -> None:
    outcome = state_of(tmp_path, "floods")
    assert set(outcome.workers["guest"].stderr.kept) <= set(b"x\n")
    assert outcome.seconds < 1 + INSPECTION_SECONDS + 3


def test_a_forged_stack_is_bounded_and_steers_no_terminal(tmp_path: Path) -> None:
    outcome = state_of(tmp_path, "forges")
    assert len(hang_of(outcome).workers["guest"].stack) <= 100
    assert all(line.isprintable() for line in explanation(hang_of(outcome)))


@pytest.mark.usefixtures("unhurried")
def test_who_waits_for_an_import_without_a_scenario_waits_for_its_exporter(tmp_path: Path) -> None:
    other = """other: {program: "guest:sleeps"}
        routes: [{grant: other.never, to: guest}]"""
    (line, *_) = told(state_of(tmp_path, "imports", more=other))
    assert line == "guest waits for other (recvmsg on 5 'control_channel'); other is sleeping (clock_nanosleep)"


def test_a_native_worker_is_told_with_its_children_and_gets_no_signal(tmp_path: Path) -> None:
    more = "native: {command: [sh, -c, 'echo hi >&2; sleep 1000; true']}"
    worker = hang_of(state_of(tmp_path, "sleeps", more=more)).workers["native"]
    assert [thread.call for thread in worker.threads] == ["wait4", "clock_nanosleep"]
    assert (worker.doing, worker.last_output, worker.stack) == (Doing.SLEEPING, {"stderr": "hi\n"}, ())


def test_a_worker_that_is_never_ready_is_looked_at_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(1000)\n", encoding="utf-8")
    worker = '{program: "slow:main", protocol: socketpair, ready: {within: 500ms}}'
    outcome = run(f"{HEAD}workers:\n  slow: {worker}\n")
    assert hang_of(outcome).workers["slow"].doing is Doing.SLEEPING
    assert any(line.endswith('slow.py", line 2 in <module>') for line in hang_of(outcome).workers["slow"].stack)


@pytest.mark.parametrize("function", ["sleeps", "pauses"])
def test_a_worker_that_does_not_stop_is_looked_at_before_it_is_killed(tmp_path: Path, function: str) -> None:
    outcome = state_of(tmp_path, function, deadline="scenario: []")
    assert (outcome.status, outcome.reason) == (Status.FAILED, "guest did not stop within 0.1 s and was killed")
    assert outcome.workers["guest"].exit_status == -signal.SIGKILL
    assert outcome.hang is not None
    assert outcome.hang.workers["guest"].doing in {Doing.SLEEPING, Doing.WAITING}


def test_a_run_in_which_no_deadline_passes_is_not_looked_at(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.lookout.inspect", None)
    failed = run(f"{PROBES}scenario:\n- {{at: a, do: socketpair, expect: {{error: EIO}}}}\n", protocol="stream")
    assert (failed.status, failed.hang) == (Status.FAILED, None)
    assert run(f"{PROBES}scenario: []\n", protocol="stream").hang is None


def test_a_worker_whose_memory_does_not_answer_holds_up_nobody(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # As when a call's arguments lie in a file of the worker's own file system.
    released = threading.Event()
    look = looking.look

    def stuck(pids: list[int], until: float) -> Sequence[looking.Process]:
        process = look(pids, until)
        if any(entry.number == 6 and entry.identity.startswith("socket") for entry in process[0].table):
            released.wait()
        return process

    monkeypatch.setattr("harness.inspection.look", stuck)
    began = time.monotonic()
    outcome = run(f"{PROBES}scenario:\n- {{at: a, do: accept, {LATE}}}\n", protocol="socketpair")
    taken = time.monotonic() - began
    released.set()
    hang = hang_of(outcome)
    assert (hang.workers["a"].doing, hang.workers["b"].doing) == (Doing.WAITING, Doing.UNSEEN)
    assert hang.workers["b"].remark == "it could not be looked at in time"
    assert taken < 1 + PATIENCE * INSPECTION_SECONDS + 3


class Watch:
    """Looks as `inspect` does; `seconds` is how long that took.

    `blocked` is how long the event loop was away at most, `computed` for how long of its own processor's time.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.blocked = 0.0
        self.computed = 0.0

    async def inspect(self, subjects: Sequence[Subject], ways: Collection[Way]) -> Hang:
        began = time.monotonic()
        ticking = asyncio.create_task(self._tick())
        try:
            await asyncio.sleep(0)
            return await inspect(subjects, ways)
        finally:
            self.seconds = time.monotonic() - began
            await asyncio.sleep(0)
            ticking.cancel()

    async def _tick(self) -> None:
        while True:
            began, computed = time.monotonic(), time.thread_time()
            await asyncio.sleep(0.001)
            self.blocked = max(self.blocked, time.monotonic() - began)
            self.computed = max(self.computed, time.thread_time() - computed)


# Far less than what it would be, far more than what other processes of a busy machine make of it.
BUSY_MACHINE_SECONDS: Final = 3


@pytest.mark.parametrize("piece", ["children", "unix_sockets", "identities_of", "Wiring", "explain"])
def test_whatever_takes_long_is_left_behind_and_keeps_the_event_loop_from_nothing(
    piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(f"harness.inspection.{piece}", lambda *_: released.wait(10))
    watch = Watch()
    asyncio.run(watch.inspect((), ()))
    released.set()
    assert watch.blocked < BUSY_MACHINE_SECONDS
    assert watch.seconds < INSPECTION_SECONDS + BUSY_MACHINE_SECONDS


@pytest.mark.parametrize("function", ["polls", "copies"])
def test_a_worker_that_waits_on_very_much_keeps_nobody_waiting_and_floods_no_report(
    tmp_path: Path, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch()
    monkeypatch.setattr("harness.lookout.inspect", watch.inspect)
    hang = hang_of(state_of(tmp_path, function, more="other: {program: 'guest:sleeps'}"))
    assert watch.computed < 0.5
    assert watch.seconds < INSPECTION_SECONDS + BUSY_MACHINE_SECONDS
    assert Part.WAITED in hang.workers["guest"].unseen
    lines = explanation(hang)
    assert max(map(len, lines)) < 2000
    assert any("not all was looked at (what it waits on): it may act" in line for line in lines)
    assert hang.workers["other"].doing is Doing.SLEEPING


def test_who_looks_does_not_read_all_that_has_happened(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Lookout.look
    asked: list[float] = []

    async def after_many_reports(lookout: Lookout) -> None:
        journal = lookout._members["a"]._journal
        journal.add(Reported, worker="a", key="x", value=1)
        journal.events += journal.events[-1:] * 3_000_000
        asked.append(time.process_time())
        await look(lookout)
        del journal.events[-3_000_000:]

    async def inspected(subjects: Sequence[Subject], ways: Collection[Way]) -> Hang:
        asked.append(time.process_time())
        return await inspect(subjects, ways)

    monkeypatch.setattr(Lookout, "look", after_many_reports)
    monkeypatch.setattr("harness.lookout.inspect", inspected)
    hang_of(run(f"{PROBES}scenario:\n{CIRCLE}", protocol="socketpair"))
    assert asked[1] - asked[0] < 0.1


def test_who_has_more_threads_than_are_looked_at_is_no_part_of_a_deadlock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "THREADS_MAX", 4)
    partner = """partner: {program: "guest:partner"}
        routes: [{grant: guest, to: partner}]"""
    outcome = state_of(tmp_path, "crowd", more=partner)
    (circle,) = hang_of(outcome).circles
    assert circle.ways_out == ("guest",)
    assert any(line.endswith("not all was looked at (threads): it may act") for line in told(outcome))


def test_a_kernel_that_does_not_tell_who_is_connected_leaves_the_rest(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(2, "sock_diag of AF_UNIX")

    monkeypatch.setattr("harness.inspection.unix_sockets", refused)
    lines = told(run(f"{PROBES}scenario:\n- {{at: a, do: accept, {LATE}}}\n", protocol="socketpair"))
    assert "  a  at accept: recvmsg on 3 'bound_socket' (BoundSocket): whose other end is not known here" in lines
    assert lines.count("       the kernel does not tell who is connected to whom (CONFIG_UNIX_DIAG)") == 2


def test_where_system_calls_may_not_be_seen_that_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read = looking._read
    monkeypatch.setattr(looking, "_read", lambda path, *size: "" if path.endswith("/syscall") else read(path, *size))
    outcome = run(f"{PROBES}scenario:\n- {{at: a, do: accept, {LATE}}}\n", protocol="socketpair")
    worker = hang_of(outcome).workers["a"]
    assert (worker.doing, worker.step) == (Doing.UNSEEN, "accept")
    assert worker.remark == "we may not see its system calls (/proc/PID/syscall)"


@pytest.mark.parametrize(
    "wrapped",
    [
        user.as_user,
        lambda _: ["unshare", "--user", "--map-root-user", "sh", "-c", WITHOUT_PID_NAMESPACES, "sh"],
    ],
    ids=["as an ordinary user", "without a PID namespace"],
)
def test_an_ordinary_user_is_told_as_much(wrapped: Callable[[Path], list[str]], tmp_path: Path) -> None:
    allowed = subprocess.run([*wrapped(tmp_path), "unshare", "--user", "true"], check=False, capture_output=True)
    if allowed.returncode:
        pytest.skip(f"no user namespaces here: {allowed.stderr.decode()}")
    file = tmp_path / "t.imclab.yaml"
    file.write_text(f"{PROBES}scenario:\n{CIRCLE}", encoding="utf-8")
    program = f"import sys; sys.path.insert(0, {ROOT!r}); from harness.cli import main; main()"
    command = [*wrapped(tmp_path), sys.executable, "-c", program, "run", "--protocol", "socketpair", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == Status.TIMED_OUT.exit_code
    assert "\ndeadlock: a waits for b (recvmsg on 6 'to_b'), b waits for a (recvmsg on 8 'to_a')\n" in done.stderr
    assert "in imc_recvmsg\n" in done.stderr
