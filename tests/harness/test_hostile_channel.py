"""One worker attacks its control channel; it is named, and the others go on through the whole of their scenario."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from typing import Final

import pytest

from harness import Outcome, Status, run_topology
from harness.events import StepEnded
from harness.quotas import REPORT_BYTES_MAX, REPORTS_MAX, RESULT_BYTES_MAX
from sandbox.protocols import PROTOCOLS
from tests.harness.written import write

GUEST: Final = """
import os, socket, struct, threading, time
from sandbox import control
from sandbox.descriptors import SocketAddress

def nested():
    listener = socket.create_server(("127.0.0.1", 0))
    lingers = socket.create_connection(listener.getsockname())
    KEPT.extend([listener, listener.accept()[0]])
    lingers.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
    lingers.setblocking(False)
    try:
        while True: lingers.send(b"x" * 65536)
    except BlockingIOError: pass
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    socket.send_fds(left, [b"x"], [lingers.fileno()])
    lingers.close()
    KEPT.append(left)
    return right.detach()

KEPT = []

def main(worker):
    channel = worker.control_channel
    raw = socket.socket(fileno=os.dup(5))
    send = lambda kind, body: worker.imc.imc_sendmsg(channel, control.encode(kind, body))
    # The innocent ones are at it by now.
    until_it_is_dead = worker.imc.imc_accept(worker.bound_socket)
{offence}
    time.sleep(3600)
"""
ROUNDS: Final = 12


def attack(tmp_path: Path, offence: str, protocol: str = "socketpair", routes: str = "") -> Outcome:
    """Run an offender beside two probes that talk to each other before, during and after its offence."""
    talk = "".join(
        f"""
  - {{at: one, do: sendmsg, socket: c, data: "{number}"}}
  - {{at: two, do: recvmsg, socket: c, expect: {{data: "{number}"}}}}
  - {{at: two, do: sendmsg, socket: c, data: "{number} back"}}
  - {{at: one, do: recvmsg, socket: c, expect: {{data: "{number} back"}}}}"""
        for number in range(ROUNDS)
    )
    topology = f"""
defaults: {{protocol: {protocol}, program: "sandbox.programs.probe:main", service_port: exported}}
workers:
  one: {{}}
  two: {{}}
  guest: {{program: "guest:main"}}
routes:
  - {{grant: two, to: one}}
  - {{grant: guest, to: one}}
  - {{grant: two, to: guest, as: granted}}
{routes}
scenario:
  - {{at: one, do: connect, address: two, as: c}}
  - {{at: two, do: accept, as: c}}
  - {{at: one, do: connect, address: guest, as: g}}
  - {{at: one, do: recvmsg, socket: g, expect: {{error: EIO}}, within: 20s}}
{talk}
"""
    return run_topology(write(tmp_path, topology, guest=GUEST.format(offence=indent(offence, "    "))))


OFFENCES: Final[dict[str, tuple[str, str]]] = {
    "a flood of reports": (
        "for n in range(1_000_000): worker.report('n', n)",
        f"more than {REPORTS_MAX} reports or {REPORT_BYTES_MAX} bytes of them",
    ),
    "a flood of large reports": (
        "for n in range(1_000_000): worker.report(str(n), 'x' * 100_000)",
        f"more than {REPORTS_MAX} reports or {REPORT_BYTES_MAX} bytes of them",
    ),
    "a socket that lingers, in the queue of a socket": (
        "socket.send_fds(raw, [b'junk'], [nested()])",
        "a message of 4 bytes is shorter than its header",
    ),
    "one that lingers, behind the end of what is read": (
        "raw.send(b'junk'); socket.send_fds(raw, [b'x'], [nested()])",
        "a message of 4 bytes is shorter than its header",
    ),
    "announcements": ("for _ in range(3): send('announce', 'ready')", "a second announcement"),
    "results": ("for _ in range(3): send('result', {'error': None})", "a result that nobody asked for"),
    "a result of more than a step has to say": (
        f"send('result', {{'error': None, 'more': 'x' * {RESULT_BYTES_MAX}}})",
        f"a result of more than {RESULT_BYTES_MAX} bytes",
    ),
    "empty packets": ("for _ in range(1000): raw.send(b'')", "a message of 0 bytes is shorter than its header"),
    "garbage": ("raw.send(os.urandom(10))", "a message of 10 bytes is shorter than its header"),
    "the largest message": (
        "worker.imc.imc_sendmsg(channel, b'[' * 131072)",
        "a message that is no JSON",
    ),
    "closing it and going on": ("channel.close(); raw.close()", "it closed its control channel and went on"),
    "shutting it down": ("raw.shutdown(socket.SHUT_RDWR)", "it closed its control channel and went on"),
    "shutting down its writing end": ("raw.shutdown(socket.SHUT_WR)", "it closed its control channel and went on"),
    "descriptors in a malformed message": (
        "socket.send_fds(raw, [b'x' * 16], [os.open('/', os.O_RDONLY)] * 200)",
        "magic number 0x78787878, not 0xd3c0de01",
    ),
    "a channel to itself": (
        "worker.imc.imc_sendmsg(channel, b'{}', worker.imc.imc_socketpair())",
        "descriptors that nobody asked for: DataOnlySocket, DataOnlySocket",
    ),
    "its address again": (
        "worker.imc.imc_sendmsg(channel, b'', (worker.address,))",
        "an export of its address, which no route grants",
    ),
    "an export without a route": (
        "worker.export('other', worker.address)",
        "an export of 'other', which no route grants",
    ),
    "an export whose name is no name": (
        "worker.imc.imc_sendmsg(channel, b'\\xff\\n' * 9, (worker.address,))",
        "an export of '\\\\xff\\n",
    ),
    "an export of JSON": (
        'worker.imc.imc_sendmsg(channel, b\'{"announce": "ready"}\', (worker.address,))',
        "descriptors that nobody asked for: SocketAddress",
    ),
}


def check(outcome: Outcome, offence: str) -> None:
    told = outcome.workers["guest"].offence
    assert told is not None
    assert told.startswith(offence)
    assert outcome.status is Status.FAILED
    assert outcome.reason == f"guest broke the rules of its control channel: {told}"
    assert (outcome.workers["one"].offence, outcome.workers["two"].offence) == (None, None)
    assert {name: worker.exit_status for name, worker in outcome.workers.items()} == {"one": 0, "two": 0, "guest": -9}
    steps = [event for event in outcome.events if isinstance(event, StepEnded)]
    assert len(steps) == 4 + 4 * ROUNDS
    assert {event.difference for event in steps} == {None}
    assert outcome.seconds < 20


@pytest.mark.parametrize("offence", OFFENCES)
def test_the_offender_is_named_and_the_others_go_on(offence: str, tmp_path: Path) -> None:
    source, told = OFFENCES[offence]
    check(attack(tmp_path, source), told)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("offence", ["a flood of reports", "closing it and going on", "its address again"])
def test_it_is_the_same_in_every_protocol(offence: str, protocol: str, tmp_path: Path) -> None:
    source, told = OFFENCES[offence]
    check(attack(tmp_path, source, protocol), told)


EXPORTS: Final[dict[str, tuple[str, str]]] = {
    "twice": (
        "worker.export('extra', worker.address); worker.export('extra', worker.address)",
        "a second export of 'extra'",
    ),
    "a listening socket": (
        "s = socket.socket(1, 5); s.bind(''); s.listen(); worker.export('extra', SocketAddress(s.detach()))",
        "a SocketAddress that is no connected socket",
    ),
    "a file": (
        "worker.export('extra', SocketAddress(os.open('/', os.O_RDONLY)))",
        "a SocketAddress that is no connected socket",
    ),
}


@pytest.mark.parametrize("what", EXPORTS)
def test_an_export_that_may_not_be_is_the_exporter_s_offence(what: str, tmp_path: Path) -> None:
    source, told = EXPORTS[what]
    check(attack(tmp_path, source, routes="  - {grant: guest.extra, to: one}"), told)


@pytest.mark.parametrize("peer", ["right.close()", "right.send(b'junk')", "right.shutdown(socket.SHUT_RDWR)", "pass"])
def test_an_address_that_nobody_accepts_from_harms_nobody(peer: str, tmp_path: Path) -> None:
    source = (
        "left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        f"{peer}\nworker.export('extra', SocketAddress(left.detach()))\n"
        "for _ in range(1000): worker.report('n', 1)\nraw.send(b'')"
    )
    outcome = attack(tmp_path, source, routes="  - {grant: guest.extra, to: one}")
    check(outcome, "a message of 0 bytes is shorter than its header")


def test_one_that_reads_nothing_while_it_is_granted_ever_more_is_an_offender(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.control_channel.UNREAD_SECONDS", 0.3)
    count = 400
    exports = f"""
        def main(worker):
            for number in range({count}):
                bound, address = worker.imc.imc_makeboundsock()
                worker.export(f"n{{number}}", address)
                address.close()
                bound.close()
    """
    routes = "\n".join(f"  - {{grant: giver.n{number}, to: guest}}" for number in range(count))
    topology = f"""
defaults: {{protocol: socketpair}}
workers:
  guest: {{program: "sleeps:main"}}
  giver: {{program: "exports:main"}}
  other: {{program: "waits:main"}}
routes:
{routes}
"""
    sleeps = "import time\n\ndef main(worker): time.sleep(3600)\n"
    waits = "def main(worker): worker.report('to the end', True)\n"
    file = write(tmp_path, topology, sleeps=sleeps, exports=exports, waits=waits)
    outcome = run_topology(file)
    assert outcome.workers["guest"].offence == "it does not read its control channel"
    assert (outcome.workers["giver"].offence, outcome.workers["other"].offence) == (None, None)


ANSWERS: Final[dict[str, tuple[str, str]]] = {
    "no errno": ("{'error': 'EWAT'}", "with a result whose error is no errno"),
    "a kind of its own": (
        "{'error': None, 'descriptors': [{'kind': '\\x1b[2J'}]}",
        "with a result whose descriptors have no kind",
    ),
    "a kind that is no text": (
        "{'error': None, 'descriptors': [{'kind': '\\ud800'}]}",
        "with a result whose descriptors have no kind",
    ),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_who_answers_a_step_with_no_result_is_an_offender_and_the_others_go_on(answer: str, tmp_path: Path) -> None:
    source, told = ANSWERS[answer]
    topology = """
        defaults: {protocol: socketpair, program: "sandbox.programs.probe:main"}
        workers: {one: {}, guest: {program: "guest:main"}}
        scenario: [{at: guest, do: socketpair}, {barrier: it answered}, {at: one, do: socketpair}]
    """
    guest = f"def main(worker):\n    worker.next_step()\n    worker.answer({source})\n    worker.next_step()\n"
    outcome = run_topology(write(tmp_path, topology, guest=guest))
    assert outcome.reason == f"guest broke the rules of its control channel: it answered socketpair {told}"
    assert outcome.workers["one"].exit_status == 0
    assert [event.worker for event in outcome.events if isinstance(event, StepEnded)] == ["one"]


def test_who_makes_itself_deaf_is_an_offender_and_the_others_go_on(tmp_path: Path) -> None:
    topology = """
        defaults: {protocol: socketpair, program: "sandbox.programs.probe:main"}
        workers: {one: {}, guest: {program: "guest:main"}}
        scenario: [{at: guest, do: socketpair}, {at: guest, do: socketpair}, {barrier: x}, {at: one, do: socketpair}]
    """
    guest = """
        import os, socket, time

        def main(worker):
            worker.next_step()
            socket.socket(fileno=os.dup(5)).shutdown(socket.SHUT_RD)
            worker.answer({"error": None})
            time.sleep(3600)
    """
    outcome = run_topology(write(tmp_path, topology, guest=guest))
    assert outcome.reason == "guest broke the rules of its control channel: it closed its control channel and went on"
    assert outcome.workers["one"].exit_status == 0


def test_an_offender_during_the_start_does_not_stop_the_others(tmp_path: Path) -> None:
    topology = """
        defaults: {protocol: socketpair, program: "sandbox.programs.probe:main"}
        workers: {one: {}, guest: {program: "guest:main"}}
        scenario: [{at: one, do: socketpair}]
    """
    guest = "import os, time\nos.write(5, b'garbage')\ntime.sleep(3600)\n\ndef main(worker): pass\n"
    outcome = run_topology(write(tmp_path, topology, guest=guest))
    assert outcome.reason.startswith("guest broke the rules of its control channel: a message of 7 bytes")
    assert outcome.workers["one"].exit_status == 0
    assert [event.worker for event in outcome.events if isinstance(event, StepEnded)] == ["one"]


def test_what_follows_from_an_offence_is_told_after_it(tmp_path: Path) -> None:
    topology = """
        defaults: {protocol: socketpair, program: "sandbox.programs.probe:main", service_port: exported}
        workers: {one: {}, guest: {program: "guest:main"}}
        routes: [{grant: guest, to: one}]
        scenario:
          - {at: one, do: connect, address: guest, as: c}
          - {at: one, do: recvmsg, socket: c}
    """
    guest = """
        import os, time

        def main(worker):
            worker.imc.imc_accept(worker.bound_socket)
            os.write(5, b"garbage")
            time.sleep(3600)
    """
    outcome = run_topology(write(tmp_path, topology, guest=guest))
    offence, _, rest = outcome.reason.partition("; then ")
    assert offence.startswith("guest broke the rules of its control channel: a message of 7 bytes")
    assert rest == "one: recvmsg on c: expected success, got EIO (the peer is gone)"


def test_one_that_ends_or_closes_its_channel_and_ends_is_no_offender(tmp_path: Path) -> None:
    topology = """
        defaults: {protocol: socketpair}
        workers: {ends: {program: "guest:ends"}, closes: {program: "guest:closes"}, lasts: {program: "guest:lasts"}}
    """
    guest = """
        import atexit, threading, time

        def ends(worker):
            pass

        def closes(worker):
            worker.control_channel.close()

        def lasts(worker):
            # What goes on after main has returned still has its channel.
            threading.Thread(target=lambda: (time.sleep(0.8), worker.report("late", 1))).start()
    """
    outcome = run_topology(write(tmp_path, topology, guest=guest))
    assert outcome.reason == "all as expected"
    assert outcome.workers["lasts"].reports == {"late": 1}


BOUNDED: Final = """
import json, os, sys, threading, time
from harness import run_topology

def sample():
    status = open("/proc/self/status").read()
    rss = int(status.split("VmRSS:")[1].split()[0])
    return rss, len(os.listdir("/proc/self/fd"))

peak = [0, 0]
stop = threading.Event()

def watch():
    while not stop.wait(0.005):
        for index, value in enumerate(sample()):
            peak[index] = max(peak[index], value)

run_topology(sys.argv[1])
before = sample()
thread = threading.Thread(target=watch)
thread.start()
outcome = run_topology(sys.argv[2])
stop.set()
thread.join()
print(json.dumps([peak[0] - before[0], peak[1] - before[1], outcome.workers["guest"].offence]))
"""


@pytest.mark.parametrize(
    "flood",
    [
        "while True: worker.report('x' * 1000, 'y' * 10_000)",
        "while True: raw.send(b'')",
        "while True: socket.send_fds(raw, [b'x'], [0] * 250)",
        "while True: socket.send_fds(raw, [b'x' * 200_000], [raw.fileno()])",
    ],
)
def test_the_supervisor_s_memory_and_descriptors_stay_bounded(flood: str, tmp_path: Path) -> None:
    topology = 'workers: {guest: {program: "guest:main", protocol: socketpair}}\n'
    head = "import os, socket\n\ndef main(worker):\n    raw = socket.socket(fileno=os.dup(5))\n    "
    files = []
    for name, source in (("quiet", "pass"), ("flood", f"{flood}")):
        (tmp_path / name).mkdir()
        files.append(write(tmp_path / name, topology, guest=f"{head}{source}\n"))
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", BOUNDED, *map(str, files)]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True, timeout=60)
    grown, descriptors, offence = json.loads(done.stdout)
    assert offence is not None
    assert grown < 32 * 1024, "KiB of memory more than a quiet run takes"
    assert descriptors < 300, "descriptors more than there were before the run"


def test_a_result_that_comes_when_the_run_is_decided_already_is_no_offence(tmp_path: Path) -> None:
    topology = """
        defaults: {protocol: socketpair}
        workers: {slow: {program: "guest:slow"}, dies: {program: "guest:dies", service_port: exported}}
        routes: [{grant: dies, to: slow}]
        scenario: [{at: slow, do: socketpair}]
    """
    guest = """
        from sandbox.errors import EndOfStream

        def slow(worker):
            worker.next_step()
            connection = worker.imc.imc_connect(worker.imports["dies"])
            worker.imc.imc_sendmsg(connection, b"die")
            try:
                worker.imc.imc_recvmsg(connection)
            except EndOfStream:
                worker.answer({"error": None})

        def dies(worker):
            worker.imc.imc_recvmsg(worker.imc.imc_accept(worker.bound_socket))
            return 3
    """
    for _ in range(3):
        outcome = run_topology(write(tmp_path, topology, guest=guest))
        assert outcome.reason == "dies exited with 3, where the topology expects that it exited with 0"


TAKES_NOTHING = """
    import os, signal, socket

    SO_PASSRIGHTS = 83  # asm-generic/socket.h, since 6.16

    def refuses(worker):
        channel = socket.socket(fileno=os.dup(5))
        try:
            channel.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        except OSError:
            open(GATE, "w").close()
            return
        os.mkdir(GATE)
        while True:
            signal.pause()

    def exports(worker):
        while not os.path.exists(GATE):
            os.sched_yield()
        if not ENDS:
            bound, address = worker.imc.imc_makeboundsock()
            worker.export("late", address)
"""


@pytest.mark.parametrize("ends", [False, True], ids=["exported", "never exported"])
def test_who_takes_no_descriptors_is_named_and_nobody_else(ends: bool, tmp_path: Path) -> None:
    """It is granted something by another one's doing: that one must not be blamed, nor the run be lost."""
    gate = tmp_path / "gate"
    programs = TAKES_NOTHING.replace("GATE", repr(str(gate))).replace("ENDS", str(ends))
    text = """
        defaults: {protocol: socketpair}
        workers:
          evil: {program: "taker:refuses"}
          honest: {program: "taker:exports"}
        routes: [{grant: honest.late, to: evil, as: late}]
        scenario: [{wait: {exit: [evil, honest]}}]
    """
    outcome = run_topology(write(tmp_path, text, taker=programs))
    if not gate.is_dir():
        pytest.skip("this kernel has no SO_PASSRIGHTS")
    assert outcome.workers["honest"].offence is None
    assert outcome.workers["honest"].exit_status == 0
    assert outcome.workers["evil"].offence == "it takes nothing over its control channel: Operation not permitted"
