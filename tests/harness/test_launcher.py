"""The launcher: shared by the runs within `warm()`, a run's own elsewhere, and gone when it should be."""

import asyncio
import os
import resource
import signal
import threading
from pathlib import Path
from typing import Final

import psutil
import pytest

from harness import Status, launcher, run_topology
from harness.launcher import PROGRAM, Launcher, _Shared, launcher_of_a_run, warm
from harness.outcome import Outcome
from harness.planner import plans_of
from harness.supervisor import supervise_all
from tests.children import children, in_child
from tests.harness.written import ONE_WORKER, write
from tests.kernel import until


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing of the launcher that all tests share."""
    monkeypatch.setattr(_Shared, "depth", 0)
    monkeypatch.setattr(_Shared, "launcher", None)


def lent() -> tuple[int, bool]:
    """Return the process id of a launcher, and whether it was shared."""
    with launcher_of_a_run(workers=1) as launcher:
        return launcher.pid, launcher is _Shared.launcher


def test_elsewhere_each_run_has_its_own_which_ends_with_it() -> None:
    first, second = lent(), lent()
    assert first[0] != second[0]
    assert not first[1]
    assert not psutil.pid_exists(first[0])


def test_within_warm_all_share_one_which_ends_with_the_outermost() -> None:
    with warm():
        assert _Shared.launcher is None
        with warm():
            pid, is_shared = lent()
        assert lent() == (pid, is_shared) == (pid, True)
    assert not psutil.pid_exists(pid)


def test_one_that_somebody_killed_is_not_lent() -> None:
    with warm():
        pid, _ = lent()
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(pid)], timeout=10)
        assert lent()[1] is False


def test_a_thread_that_may_end_before_others_has_its_own() -> None:
    with warm():
        shared, _ = lent()
        found: list[tuple[int, bool]] = []
        thread = threading.Thread(target=lambda: found.append(lent()))
        thread.start()
        thread.join()
        ((pid, is_shared),) = found
        assert pid != shared
        assert not is_shared


def test_whoever_changed_what_a_launcher_has_from_it_has_its_own() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with warm():
        assert lent()[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
        try:
            assert not lent()[1]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert lent()[1]


def test_a_fork_does_not_use_its_parents() -> None:
    def check() -> None:
        assert lent()[1] is False

    with warm():
        lent()
        in_child(check)()
        assert lent()[1]


def test_runs_that_share_one_share_nothing_else(tmp_path: Path) -> None:
    """Each has a zygote, and with it a session and a process group, of its own: it may signal all of that."""
    killer = "import os, signal\ndef main(worker): os.kill(0, signal.SIGKILL)\n"
    ends = write(tmp_path, ONE_WORKER, guest=killer)
    before = children()
    with warm():
        pid, _ = lent()
        assert run_topology(ends).status is Status.FAILED
        write(tmp_path, ONE_WORKER, guest="def main(worker): pass\n")
        assert run_topology(ends).passed
        assert lent()[0] == pid
        assert children() == before


LEARNED: Final = """
    from sandbox.start import cut

    def main(worker):
        worker.report("learned", cut.__code__._co_code_adaptive != cut.__code__.co_code)
"""


@pytest.mark.parametrize(("workers", "learned"), [(1, False), (2, True)])
def test_it_rehearses_for_many_workers_and_not_for_few(
    workers: int, learned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "MANY", 2)
    topology = f"workers: {{w: {{program: guest:main, protocol: socketpair, replicas: {workers}}}}}"
    outcome = run_topology(write(tmp_path, topology, guest=LEARNED))
    assert [worker.reports for worker in outcome.workers.values()] == [{"learned": learned}] * workers


@pytest.mark.parametrize(("runs", "learned"), [(1, False), (2, True)])
def test_for_several_runs_all_their_workers_count(
    runs: int, learned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "MANY", 2)
    (plan,) = plans_of(write(tmp_path, ONE_WORKER, guest=LEARNED))
    outcomes = list[Outcome]()
    asyncio.run(supervise_all([plan] * runs, 1, lambda _, outcome: outcomes.append(outcome)))
    assert [outcome.workers["guest"].reports for outcome in outcomes] == [{"learned": learned}] * runs


def test_it_ends_with_the_process_that_started_it() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, str(Launcher(PROGRAM, many=False).pid).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as told:
        pid = int(told.read())
    until(lambda: not psutil.pid_exists(pid), "it is gone")
