"""Refused calls, told by the kernel: by name, whatever the worker does about it, and at nobody else's expense."""

import asyncio
import ctypes
import errno
import fcntl
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest

from harness import Outcome, Status, refusals, run_topology
from harness.events import Refusal, Refused, WorkerReady, WorkerStarted
from harness.launcher import ROOT
from harness.planner import only_plan_of
from harness.quotas import REFUSED_NUMBERS_MAX
from harness.refusals import RefusedCalls
from harness.report.text import account
from harness.seccomp_compiler import calls, compiled
from harness.spawn import Terms, Zygote
from sandbox.confinement.confine import PR_SET_NO_NEW_PRIVS
from sandbox.confinement.kernel import prctl
from sandbox.confinement.policy import PROFILES
from sandbox.confinement.seccomp import NO_LISTENER, Filter, Program
from sandbox.descriptors import over
from sandbox.transport import receive_packet, send_packet, seqpacket_pair
from tests.children import fork, in_child
from tests.harness.test_spawn import PASSES
from tests.harness.written import write
from tests.kernel import OpenDescriptors

RULES: Final = PROFILES["strict"].rules


def by_kernel(outcome: Outcome, worker: str = "a") -> dict[str, int]:
    """Return how often which call was refused as the kernel tells it."""
    told = outcome.workers[worker].refusals.items()
    assert {refusal.error for refusal, _ in told if refusal.layer} <= {"EPERM"}
    return {refusal.call: count for refusal, count in told if refusal.layer == "seccomp"}


def run(tmp_path: Path, source: str, more: str = "") -> Outcome:
    text = f"""
        defaults: {{protocol: socketpair, confinement: strict}}
        workers:
          a: {{program: "guest:main"}}
          {more}
    """
    return run_topology(write(tmp_path, text, guest=source))


# What is told


def test_calls_are_told_by_name_and_counted_though_the_worker_says_nothing(tmp_path: Path) -> None:
    source = """
        import errno, os, socket, threading
        from contextlib import suppress

        def main(worker):
            for _ in range(3):
                try:
                    socket.socket().detach()
                except OSError as error:
                    worker.report(f"error {_}", error.errno)
            with suppress(PermissionError):
                os.chroot("/")
            # What libraries probe for is answered by the list itself.
            with suppress(OSError):
                os.pidfd_open(1)
            thread = threading.Thread(target=lambda: suppress(OSError).__enter__() or attempt())
            thread.start()
            thread.join()

        def attempt():
            with suppress(PermissionError):
                os.chroot("/")
    """
    outcome = run(tmp_path, source)
    assert outcome.reason == "all as expected", outcome.workers["a"].stderr.text()
    assert outcome.workers["a"].reports == {f"error {number}": errno.EPERM for number in range(3)}
    assert by_kernel(outcome) == {"socket": 3, "chroot": 2}
    assert outcome.workers["a"].is_heard
    told = [event.refusal.call for event in outcome.events if isinstance(event, Refused)]
    assert told == ["socket", "chroot"]


def test_native_workers_and_what_they_execute_are_told_too(tmp_path: Path) -> None:
    """The listener has to be on its way before the program is executed."""
    source = tmp_path / "tries.c"
    source.write_text('#include <unistd.h>\nint main(void) { return chroot("/") ? 3 : 0; }\n', encoding="utf-8")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    subprocess.run([compiler, "-o", tmp_path / "tries", source], check=True)
    text = """
        workers: {a: {command: [./tries], protocol: socketpair, confinement: strict}}
        scenario: [{wait: {exit: a}}, {expect: {exit: {a: 3}}}]
    """
    outcome = run_topology(write(tmp_path, text))
    assert outcome.reason == "all as expected", outcome.workers["a"].stderr.text()
    assert by_kernel(outcome) == {"chroot": 1}


def test_honest_workers_are_refused_nothing(tmp_path: Path) -> None:
    """So what is told is worth a look."""
    outcome = run(tmp_path, "def main(worker): print('hello')", more="b: {command: [/bin/echo, hello]}")
    assert outcome.reason == "all as expected"
    assert (by_kernel(outcome), by_kernel(outcome, "b")) == ({}, {})


# What the worker has of it


def test_nothing_of_the_zygote_and_no_listener_is_left_to_a_worker(tmp_path: Path) -> None:
    source = """
        import os

        def main(worker):
            worker.report("open", [number for number in range(1024) if is_open(number)])

        def is_open(number):
            try:
                os.fstat(number)
            except OSError:
                return False
            return True
    """
    assert run(tmp_path, source).workers["a"].reports == {"open": [0, 1, 2, 3, 4, 5]}


def test_a_worker_cannot_make_a_listener_of_its_own_nor_pass_itself_off_as_confined(tmp_path: Path) -> None:
    source = """
        import ctypes, os
        from sandbox.transport import send_packet

        def main(worker):
            program = ctypes.create_string_buffer(b"\\x06\\0\\0\\0\\0\\0\\xff\\x7f", 8)
            described = (ctypes.c_uint64 * 2)(1, ctypes.addressof(program))
            libc = ctypes.CDLL(None, use_errno=True)
            number = 317 if os.uname().machine == "x86_64" else 277
            worker.report("seccomp", [libc.syscall(number, 1, 8, described), ctypes.get_errno()])
            send_packet(worker.control_channel.socket, (b'{"confined": 1}',), (0,))
            worker.next_step()
    """
    outcome = run(tmp_path, source)
    assert outcome.workers["a"].reports == {"seccomp": [-1, errno.EPERM]}
    assert by_kernel(outcome) == {"seccomp": 1}
    assert outcome.workers["a"].offence is not None


def test_nobody_is_heard_once_a_fork_has_said_that_it_is_confined() -> None:
    """So whatever a worker could send where that was said, it is nobody's listener."""

    async def ways() -> list[int]:
        zygote = await Zygote.start(workers=1)
        nothing = os.open(os.devnull, os.O_RDWR)
        listened: list[Sequence[int]] = []
        try:
            await zygote.go()
            process = await zygote.spawn(Terms(), PASSES, dict.fromkeys(range(3), nothing), listened.append)
            assert await process.exited == 0
            assert list(map(tuple, listened)) == [()]
            return [way.fileno() for way in zygote._ways]
        finally:
            os.close(nothing)
            await zygote.stop()

    assert asyncio.run(ways()) == [-1]


def test_one_that_ends_before_it_is_confined_is_not_waited_for() -> None:
    confined: list[Sequence[int]] = []

    async def status() -> int:
        zygote = await Zygote.start(workers=1)
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            async with asyncio.timeout(10):
                # There is no such confinement.
                process = await zygote.spawn(
                    Terms(confinement=7), PASSES, dict.fromkeys(range(3), nothing), confined.append
                )
                return await process.exited
        finally:
            os.close(nothing)
            await zygote.stop()

    assert asyncio.run(status()) == 1
    assert confined == []


def test_no_worker_runs_before_all_are_confined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that runs could fill the quota that the listeners of the others need to travel."""
    late = """
import sys, time
sys.path.insert(0, {root!r})
from sandbox import start, zygote
told_what, cut = start.what_to_become, start.cut
def what_to_become(sock):
    told, placements = told_what(sock)
    if told["name"] == "b":
        start.cut = lambda *said: (time.sleep(0.3), cut(*said))
    return told, placements
start.what_to_become = what_to_become
zygote.main()
"""
    monkeypatch.setattr("harness.launcher.PROGRAM", late.format(root=ROOT))
    outcome = run(tmp_path, "def main(worker): pass", more='b: {program: "guest:main"}')
    assert outcome.reason == "all as expected"
    told = [type(event) for event in outcome.events if isinstance(event, WorkerStarted | WorkerReady)]
    assert told == [WorkerStarted, WorkerStarted, WorkerReady, WorkerReady]


# Floods

FLOOD: Final = """
    import ctypes, itertools, os, threading

    def main(worker):
        libc = ctypes.CDLL(None)
        numbers = itertools.count(1000)
        def flood():
            while True:
                libc.chroot(b"/")
                # Each another number that there is no call of.
                libc.syscall(next(numbers))
        for _ in range(16):
            threading.Thread(target=flood, daemon=True).start()
        worker.report("flooding", True)
        worker.next_step()
"""


def test_a_flood_keeps_neither_the_supervisor_nor_siblings_from_going_on_and_fills_nothing(tmp_path: Path) -> None:
    text = """
        within: 20s
        defaults: {protocol: socketpair, confinement: strict, program: "sandbox.programs.probe:main"}
        workers:
          a: {program: "guest:main"}
          b: {service_port: exported}
          c: {}
        routes: [{grant: b, to: c}]
        scenario:
          - {wait: {report: {a: flooding}}}
          - repeat: 30
            steps:
              - {at: c, do: connect, address: b, as: c, within: 2s}
              - {at: b, do: accept, as: c, within: 2s}
              - {at: c, do: sendmsg, socket: c, data: hi, within: 2s}
              - {at: b, do: recvmsg, socket: c, expect: {data: hi}, within: 2s}
              - {at: b, do: close, descriptor: c}
              - {at: c, do: close, descriptor: c}
    """
    outcome = run_topology(write(tmp_path, text, guest=FLOOD))
    assert outcome.reason == "all as expected"
    counts = by_kernel(outcome)
    assert counts["chroot"] > 10
    assert counts["calls of other numbers"] > 10
    assert len(counts) == 2 + REFUSED_NUMBERS_MAX
    assert sum(isinstance(event, Refused) for event in outcome.events) == len(counts)


def test_a_run_that_is_late_amid_a_flood_is_looked_at_and_ended(tmp_path: Path) -> None:
    """Neither waits for the other, whatever is done to a worker that waits for an answer."""
    text = """
        within: 1s
        defaults: {protocol: socketpair, confinement: strict}
        workers: {a: {program: "guest:main"}}
        scenario: [{wait: {report: {a: never}}, within: 1s}]
    """
    outcome = run_topology(write(tmp_path, text, guest=FLOOD))
    assert outcome.status is Status.TIMED_OUT
    assert outcome.hang is not None
    assert outcome.workers["a"].exit_status == -signal.SIGKILL
    assert by_kernel(outcome)["chroot"] > 10


def test_one_call_is_answered_a_turn_however_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []
    take = RefusedCalls._take
    called = RefusedCalls._called

    def counted(self: RefusedCalls) -> None:
        turns.append(0)
        take(self)

    def answered(self: RefusedCalls, number: int) -> str:
        turns[-1] += 1
        return called(self, number)

    def attempt() -> None:
        threads = [threading.Thread(target=try_chroot) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def all_wait(pid: int) -> None:
        number = calls()["chroot"]
        deadline = time.monotonic() + 10
        while sum(call_of(task).startswith(f"{number} ") for task in Path(f"/proc/{pid}/task").iterdir()) < 8:
            assert time.monotonic() < deadline

    monkeypatch.setattr(RefusedCalls, "_take", counted)
    monkeypatch.setattr(RefusedCalls, "_called", answered)
    assert heard(attempt, all_wait) == {"chroot": 8}
    assert (max(turns), sum(turns)) == (1, 8)


def call_of(task: Path) -> str:
    """Return in which call a thread is, as the kernel tells it; "" where it is gone."""
    try:
        return (task / "syscall").read_text(encoding="ascii")
    except OSError:
        return ""


# Whoever makes the call dies, or is interrupted


def listening_child(attempt: Callable[[], object]) -> tuple[int, int]:
    """Return the pid of a child that makes an attempt under strict's list, and its listener."""
    program = compiled(RULES, listened_to=True)
    ours, theirs = (over(end) for end in seqpacket_pair())
    pid = fork()
    if not pid:
        try:
            prctl(PR_SET_NO_NEW_PRIVS, 1)
            listener = Program(program).load_listening()
            send_packet(theirs, (b"listener",), (listener,))
            os.close(listener)
            attempt()
        finally:
            os._exit(0)
    theirs.close()
    (listener,) = receive_packet(ours, bytearray(16)).fds
    ours.close()
    return pid, listener


def heard(attempt: Callable[[], object], begun: Callable[[int], object] = lambda _: None) -> Counter[str]:
    """Listen to a child's attempt until it has ended, and return which calls were told; `begun` is told its pid."""
    before = OpenDescriptors()
    told: Counter[str] = Counter()
    failures: list[object] = []

    async def listen() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        pid, listener = listening_child(attempt)
        begun(pid)
        refused = RefusedCalls(listener, lambda call: told.update([call]))
        try:
            async with asyncio.timeout(10):
                # It closes the listener by itself, once nobody is left to listen to.
                while refused._listener >= 0:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.001)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            refused.close()

    asyncio.run(listen())
    assert failures == []
    assert before.only()
    return told


def try_chroot() -> None:
    ctypes.CDLL(None).chroot(b"/")


def test_a_child_that_ends_is_listened_to_no_more() -> None:
    assert heard(try_chroot) == {"chroot": 1}


@pytest.mark.parametrize("request_", [refusals.SECCOMP_IOCTL_NOTIF_RECV, refusals.SECCOMP_IOCTL_NOTIF_SEND])
def test_one_that_is_killed_in_the_middle_of_a_call_is_not_waited_for(
    request_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the news and its receipt, and between its receipt and the answer."""
    child: list[int] = []
    killed: list[int] = []

    def ioctl(fd: int, request: int, argument: bytes) -> bytes:
        if request == request_ and not killed:
            os.kill(child[0], signal.SIGKILL)
            os.waitid(os.P_PID, child[0], os.WEXITED | os.WNOWAIT)
            killed.extend(child)
        return fcntl.ioctl(fd, request, argument)

    monkeypatch.setattr(refusals, "fcntl", SimpleNamespace(ioctl=ioctl))
    assert heard(try_chroot, child.append) == {}
    assert killed == child


def test_news_without_a_call_behind_it_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made the call ended or was interrupted between the loop's look and ours."""
    looks: list[int] = []

    class Forgetful:
        """Sees nothing at first."""

        def __init__(self) -> None:
            self._poll = select.poll()
            self.register = self._poll.register

        def poll(self, timeout: int) -> list[tuple[int, int]]:
            looks.append(timeout)
            return [] if len(looks) == 1 else self._poll.poll(timeout)

    faked = SimpleNamespace(poll=Forgetful, POLLIN=select.POLLIN, POLLHUP=select.POLLHUP)
    monkeypatch.setattr(refusals, "select", faked)
    assert heard(try_chroot) == {"chroot": 1}


def test_a_call_that_a_signal_interrupts_is_counted_once() -> None:
    def attempt() -> None:
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.siginterrupt(signal.SIGALRM, False)  # noqa: FBT003 - typeshed has no name for it
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        for _ in range(200):
            try_chroot()

    assert heard(attempt) == {"chroot": 200}


def test_a_worker_that_is_killed_amid_its_calls_ends_as_any_other(tmp_path: Path) -> None:
    text = """
        defaults: {protocol: socketpair, confinement: strict}
        workers: {a: {program: "guest:main"}}
        scenario:
          - {wait: {report: {a: flooding}}}
          - {pause: a}
          - {resume: a}
          - {kill: a}
          - {expect: {exit: {a: SIGKILL}}}
    """
    outcome = run_topology(write(tmp_path, text, guest=FLOOD))
    assert outcome.reason == "all as expected"


# Where nobody can listen


def test_where_nobody_can_listen_calls_are_refused_all_the_same_and_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "harness.confinement.program_of",
        lambda policy, rules, *, listened_to=False: b"" if listened_to else compiled((*policy.rules, *rules)),
    )
    source = """
        import socket

        def main(worker):
            try:
                socket.socket()
            except OSError as error:
                worker.refused("socket", error)
    """
    outcome = run(tmp_path, source)
    assert outcome.reason == "all as expected"
    assert outcome.workers["a"].refusals == {Refusal("socket", "EPERM"): 1}
    assert not outcome.workers["a"].is_heard
    told = account(only_plan_of(tmp_path / "written.imclab.yaml", {}), outcome)
    assert "  a  starts under strict (which calls that refuses is not told here: imclab doctor) with no" in told


@in_child
def test_where_there_is_a_listener_already_there_is_no_other_and_the_list_holds() -> None:
    """As in a container whose own runtime listens."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    allow_all = b"\x06\0\0\0\0\0\xff\x7f"
    Program(allow_all).load_listening()
    assert Filter(compiled(RULES), compiled(RULES, listened_to=True)).load() == NO_LISTENER
    with pytest.raises(PermissionError):
        os.chroot("/")


def test_a_library_that_knows_of_no_listeners_makes_no_program_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyseccomp  # noqa: PLC0415 - as where it is used

    real = pyseccomp.SyscallFilter

    def filter_of(action: int) -> Any:
        if action == pyseccomp.NOTIFY:
            raise ValueError("Failed to initialize filter")
        return real(action)

    compiled.cache_clear()
    monkeypatch.setattr(pyseccomp, "SyscallFilter", filter_of)
    assert compiled(RULES, listened_to=True) == b""
    assert compiled(RULES) != b""
    compiled.cache_clear()
