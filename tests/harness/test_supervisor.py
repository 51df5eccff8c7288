"""Readiness, deadlines, deaths: what decides a run, and what it then says."""

import asyncio
import errno
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness import Status, run_topology
from harness.control_channel import ControlChannel
from harness.events import StepUnfinished, WorkerReady, WorkerStarted
from harness.lookout import Lookout
from harness.member import Member
from harness.planner import only_plan_of
from harness.spawn import Zygote
from harness.supervisor import Run, supervise
from tests.children import children
from tests.harness.written import ONE_WORKER, write
from tests.kernel import OpenDescriptors

IDLE = "def main(worker): worker.next_step()\n"


def test_without_a_scenario_a_run_passes_when_all_have_exited_with_0(tmp_path: Path) -> None:
    outcome = run_topology(write(tmp_path, ONE_WORKER, guest="def main(worker): return 0\n"))
    assert (outcome.passed, outcome.cell) == (True, "written")


def test_a_worker_that_is_never_ready_is_told_by_name(tmp_path: Path) -> None:
    topology = """
        workers:
          slow: {program: "slow:main", protocol: socketpair, ready: {within: 200ms}}
    """
    outcome = run_topology(write(tmp_path, topology, slow="import time\ntime.sleep(3600)\n"))
    assert (outcome.status, outcome.reason) == (Status.TIMED_OUT, "slow was not ready within 0.2 s")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_of_the_kind\n", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        ("def other(worker): pass\n", "AttributeError: module 'guest' has no attribute 'main'"),
        ("def main(worker:\n", "SyntaxError: "),
    ],
)
def test_a_program_that_cannot_be_loaded_says_why(source: str, words: str, tmp_path: Path) -> None:
    outcome = run_topology(write(tmp_path, ONE_WORKER, guest=source))
    assert outcome.status is Status.FAILED
    assert outcome.reason == "guest exited with 1 before it was ready"
    assert words in outcome.workers["guest"].stderr.text()


def test_a_worker_that_ends_unexpectedly_ends_the_run_at_once(tmp_path: Path) -> None:
    topology = """
        defaults: {protocol: socketpair}
        workers:
          waits: {program: "waits:main", service_port: exported}
          dies: {program: "dies:main"}
        scenario:
          - {at: waits, do: accept, within: 50s}
    """
    dies = "import os, signal\n\ndef main(worker): os.kill(os.getpid(), signal.SIGSEGV)\n"
    probe = "from sandbox.programs.probe import main\n"
    outcome = run_topology(write(tmp_path, topology, waits=probe, dies=dies))
    assert outcome.status is Status.FAILED
    assert outcome.reason == "dies was ended by SIGSEGV, where the topology expects that it exited with 0"
    assert outcome.seconds < 10


def test_a_worker_that_does_not_stop_is_killed_and_fails_the_run(tmp_path: Path) -> None:
    topology = """
        workers:
          guest: {program: "guest:main", protocol: socketpair, stop: {within: 100ms}}
        scenario: []
    """
    outcome = run_topology(write(tmp_path, topology, guest="import time\n\ndef main(worker): time.sleep(3600)\n"))
    assert (outcome.status, outcome.reason) == (Status.FAILED, "guest did not stop within 0.1 s and was killed")
    assert outcome.workers["guest"].exit_status == -signal.SIGKILL


def test_a_worker_that_ends_while_it_is_looked_at_has_overstayed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def until_it_has_ended(lookout: Lookout) -> None:
        await lookout._members["guest"].exited()

    monkeypatch.setattr(Lookout, "look", until_it_has_ended)
    topology = """
        workers:
          guest: {program: "guest:main", protocol: socketpair, stop: {within: 100ms}}
        scenario: []
    """
    late = "import time\n\ndef main(worker):\n    worker.next_step()\n    time.sleep(0.5)\n"
    outcome = run_topology(write(tmp_path, topology, guest=late))
    assert outcome.workers["guest"].exit_status == 0
    assert (outcome.status, outcome.reason) == (Status.FAILED, "guest did not stop within 0.1 s and was killed")


def test_who_stops_in_time_is_not_blamed_where_the_supervisor_is_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = ControlChannel.end

    def end_and_be_late(channel: ControlChannel) -> None:
        end(channel)
        # Nothing is heard meanwhile, neither of workers nor of the time.
        asyncio.get_running_loop().call_soon(time.sleep, 0.5)

    monkeypatch.setattr(ControlChannel, "end", end_and_be_late)
    topology = """
        workers:
          guest: {program: "guest:main", protocol: socketpair, stop: {within: 100ms}}
        scenario: []
    """
    outcome = run_topology(write(tmp_path, topology, guest="def main(worker): worker.next_step()\n"))
    assert (outcome.passed, outcome.reason) == (True, "all as expected")


def test_a_run_ends_at_its_deadline_and_tells_what_was_going_on(tmp_path: Path) -> None:
    topology = """
        within: 3s
        workers:
          guest: {program: "sandbox.programs.probe:main", protocol: socketpair, service_port: exported}
        scenario:
          - {at: guest, do: accept}
    """
    outcome = run_topology(write(tmp_path, topology))
    assert outcome.status is Status.TIMED_OUT
    assert outcome.reason == "the run took longer than 3 s; meanwhile guest: accept"
    assert [(event.worker, event.step) for event in outcome.events if isinstance(event, StepUnfinished)] == [
        ("guest", 0)
    ]


def test_if_the_zygote_dies_every_worker_is_lost_and_the_run_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zygotes: list[Zygote] = []
    start, announced = Zygote.start, Member.announced

    async def remember(workers: int) -> Zygote:
        zygotes.append(await start(workers))
        return zygotes[0]

    def then_kill(member: Member) -> None:
        announced(member)
        signal.pidfd_send_signal(zygotes[0]._pidfd, signal.SIGKILL)

    monkeypatch.setattr(Zygote, "start", remember)
    monkeypatch.setattr(Member, "announced", then_kill)
    outcome = run_topology(write(tmp_path, ONE_WORKER, guest=IDLE))
    assert outcome.status is Status.FAILED
    assert outcome.reason == "every worker was lost: the zygote is gone: it left no word"
    assert outcome.workers["guest"].exit_status is None


def test_a_zygote_that_cannot_start_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.launcher.PROGRAM", "raise SystemExit('on purpose')")
    outcome = run_topology(write(tmp_path, ONE_WORKER, guest=IDLE))
    assert outcome.status is Status.FAILED
    assert outcome.reason == "every worker was lost: the zygote is gone: on purpose"


def test_a_worker_cannot_end_the_zygote(tmp_path: Path) -> None:
    kills = "import os\n\ndef main(worker): [os.kill(os.getppid(), number) for number in (2, 9, 15, 17, 19)]\n"
    assert run_topology(write(tmp_path, ONE_WORKER, guest=kills)).passed


def test_programs_are_looked_up_beside_the_file_first(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    write(tmp_path / "package", ONE_WORKER, deep="def main(worker): worker.report('where', __file__)\n")
    topology = """
        workers:
          guest: {program: "package.deep:main", protocol: socketpair}
    """
    reports = run_topology(write(tmp_path, topology)).workers["guest"].reports
    assert reports == {"where": str(tmp_path / "package" / "deep.py")}


def test_random_numbers_differ_between_workers(tmp_path: Path) -> None:
    topology = """
        defaults: {protocol: socketpair, program: "guest:main"}
        workers: {one: {}, two: {}}
    """
    source = "import random\n\ndef main(worker): worker.report('drawn', random.random())\n"
    workers: Any = run_topology(write(tmp_path, topology, guest=source)).workers
    assert workers["one"].reports != workers["two"].reports


def test_threads_work_in_a_worker(tmp_path: Path) -> None:
    source = """
        import threading

        def main(worker):
            lock, counted = threading.RLock(), []
            def count():
                with lock, lock:
                    counted.append(threading.get_native_id())
            threads = [threading.Thread(target=count) for _ in range(20)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            worker.report("threads", len(counted))
    """
    assert run_topology(write(tmp_path, ONE_WORKER, guest=source)).workers["guest"].reports == {"threads": 20}


def test_no_worker_runs_before_all_are_forked(tmp_path: Path) -> None:
    workers = ", ".join(f"w{index}: {{}}" for index in range(40))
    topology = f"""
        defaults: {{protocol: socketpair, program: "guest:main", service_port: exported}}
        workers: {{{workers}}}
    """
    events = run_topology(write(tmp_path, topology, guest="def main(worker): pass\n")).events
    started = [index for index, event in enumerate(events) if isinstance(event, WorkerStarted)]
    ran = [index for index, event in enumerate(events) if isinstance(event, WorkerReady)]
    assert len(started) == 40
    assert max(started) < min(ran)


def test_60_workers_run_at_once(tmp_path: Path) -> None:
    workers = ", ".join(f"w{index}: {{}}" for index in range(60))
    topology = f"""
        defaults: {{protocol: socketpair, program: "guest:main", service_port: exported}}
        workers: {{{workers}}}
    """
    outcome = run_topology(write(tmp_path, topology, guest="def main(worker): worker.report('name', worker.name)\n"))
    assert {name: worker.reports for name, worker in outcome.workers.items()} == {
        f"w{index}": {"name": f"w{index}"} for index in range(60)
    }


def test_a_run_that_is_cancelled_or_cannot_start_its_workers_leaves_no_descriptor(
    tmp_path: Path, open_descriptors: OpenDescriptors, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = only_plan_of(write(tmp_path, ONE_WORKER, guest=IDLE), {})

    async def cancelled() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(supervise(plan), 0.3)

    asyncio.run(cancelled())
    assert open_descriptors.only()

    async def out_of_processes(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "fork")

    monkeypatch.setattr(Zygote, "spawn", out_of_processes)
    outcome = asyncio.run(supervise(plan))
    assert outcome.status is Status.UNSUPPORTED
    assert outcome.reason == "the machine is out of what the run needs: [Errno 11] fork"
    assert open_descriptors.only()


def test_a_run_that_needs_more_descriptors_than_there_are_says_how_many_and_starts_nothing(tmp_path: Path) -> None:
    plan = only_plan_of(write(tmp_path, ONE_WORKER, guest=IDLE), {})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        outcome = asyncio.run(supervise(plan))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert outcome.status is Status.UNSUPPORTED
    told = re.fullmatch(
        r"1 workers need up to (\d+) descriptors here \((\d+) a worker, 2 for each of 0 grants, (\d+) besides\), "
        r"and the limit is 100: ulimit -n (\d+)",
        outcome.reason,
    )
    assert told
    needed, a_worker, besides, enough = map(int, told.groups())
    assert needed == enough == a_worker + besides
    assert outcome.events == ()


LAST_WORDS = """
    def main(worker):
        while worker.next_step() is not None:
            worker.answer({"error": None})
            worker.report("after", "a step")
        worker.report("after", "the end")
"""


def test_what_a_worker_reports_after_its_last_step_and_at_the_end_arrives(tmp_path: Path) -> None:
    topology = """
        workers:
          guest: {program: "guest:main", protocol: socketpair}
        scenario:
          - {at: guest, do: mem_obj_create}
    """
    for _ in range(10):
        outcome = run_topology(write(tmp_path, topology, guest=LAST_WORDS))
        assert (outcome.reason, outcome.workers["guest"].reports) == ("all as expected", {"after": "the end"})


def test_a_death_is_told_rather_than_what_follows_from_it(tmp_path: Path) -> None:
    topology = """
        defaults: {protocol: socketpair}
        workers:
          dies: {program: "dies:main"}
          waits: {program: "sandbox.programs.probe:main", service_port: exported}
        routes:
          - {grant: waits, to: dies}
        scenario:
          - {at: waits, do: accept, as: c}
          - {at: waits, do: recvmsg, socket: c}
    """
    dies = "import os\n\ndef main(worker):\n    c = worker.imc.imc_connect(worker.imports['waits'])\n    os.abort()\n"
    for _ in range(5):
        outcome = run_topology(write(tmp_path, topology, dies=dies))
        assert outcome.reason == "dies was ended by SIGABRT, where the topology expects that it exited with 0"


@pytest.mark.parametrize(
    "beforehand",
    [
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())",
        "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]",
    ],
)
def test_whatever_the_caller_does_with_signals_a_run_is_the_same(beforehand: str, tmp_path: Path) -> None:
    source = """
        import signal

        def main(worker):
            ignored = [n.name for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]
            worker.report("ignored", sorted(ignored))
            worker.report("blocked", len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    """
    file = write(tmp_path, ONE_WORKER, guest=source)
    script = f"""
import signal
{beforehand}
from harness import run_topology
outcome = run_topology({str(file)!r})
print(outcome.reason, outcome.workers["guest"].reports)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "all as expected {'ignored': ['SIGPIPE', 'SIGXFSZ'], 'blocked': 0}\n", done.stderr


def test_a_callback_that_raises_ends_the_run_with_that_and_leaves_nothing(
    tmp_path: Path, open_descriptors: OpenDescriptors, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Asyncio would tell it in its log, and the worker be read no more."""

    def fail(*_: object) -> None:
        raise LookupError("a bug of ours")

    monkeypatch.setattr(Member, "reported", fail)
    file = write(tmp_path, f"{ONE_WORKER}    scenario: [{{wait: 30s}}]\n", guest="def main(w): w.report('n', 1)\n")
    with pytest.raises(LookupError, match="a bug of ours"):
        run_topology(file)
    assert children() == []
    assert open_descriptors.only()
    assert caplog.messages == []


def test_a_callback_that_raises_while_all_is_torn_down_decides_too(
    tmp_path: Path, open_descriptors: OpenDescriptors, monkeypatch: pytest.MonkeyPatch
) -> None:
    tear_down = Run.tear_down

    async def fail(run: Run) -> None:
        asyncio.get_running_loop().call_soon(dict[str, str]().pop, "a bug")
        await tear_down(run)

    monkeypatch.setattr(Run, "tear_down", fail)
    with pytest.raises(KeyError):
        run_topology(write(tmp_path, ONE_WORKER, guest="def main(worker): pass\n"))
    assert children() == []
    assert open_descriptors.only()
