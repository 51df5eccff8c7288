"""The launcher: shared by the runs within `warm()`, a run's own elsewhere, and gone when it should be."""

import os
import resource
import signal
import threading
from pathlib import Path

import psutil
import pytest

from harness import Status, run_topology
from harness.launcher import PROGRAM, Launcher, _Shared, launcher_of_a_run, warm
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
    with launcher_of_a_run() as launcher:
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


def test_it_ends_with_the_process_that_started_it() -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, str(Launcher(PROGRAM).pid).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as told:
        pid = int(told.read())
    until(lambda: not psutil.pid_exists(pid), "it is gone")
