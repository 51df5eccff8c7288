"""The topologies that are measured do what they are measured for, and nothing of them is left."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from harness.bench import connects, messages, runs
from harness.bench.idle import proportional_set_sizes
from harness.bench.runs import NotMeasured, on_one_core, plan_of, run_of
from harness.bench.stand import Stand
from harness.bench.starts import since
from harness.events import WorkerReady
from harness.outcome import Outcome, Status
from harness.plan import Plan
from sandbox.confinement.policy import PROFILES
from tests.children import children
from tests.kernel import until

CHILDREN: Final = """
import json, psutil
from harness.bench.multiprocess import idle_children, script
from multiprocessing import get_context
with idle_children(2) as pids:
    mains = [psutil.Process(pid).cmdline() for pid in pids]
left = [pid for pid in pids if psutil.pid_exists(pid)]
with script() as main:
    process = get_context("forkserver").Process(target=main.nothing)
    process.start()
    process.join()
print(json.dumps([["spawn_main" in " ".join(main) for main in mains], left, process.exitcode]))
"""


def test_messages_go_in_every_way_of_every_contest() -> None:
    outcome = asyncio.run(run_of("messages", rounds=1, turns=2))
    reports = outcome.workers["client"].reports
    assert {contest: set(ways) for contest, ways in reports.items() if isinstance(ways, dict)} == {
        "round trip": {"ours", "plain", "piped"},
        "64 bytes": {"ours", "plain"},
        "4096 bytes": {"ours", "plain"},
        "65536 bytes": {"ours", "plain"},
        "descriptor": {"our_address", "handle", "fds"},
    }
    taken = [
        turns for ways in reports.values() if isinstance(ways, dict) for rounds in ways.values() for turns in rounds
    ]
    assert all(len(turns) == 2 and min(turns) > 0 for turns in taken)


def test_all_clients_are_answered_by_the_hub() -> None:
    outcome = asyncio.run(run_of("hub", clients=3))
    assert {worker.exit_status for worker in outcome.workers.values()} == {0}
    assert set(outcome.workers) == {"hub", "client.0", "client.1", "client.2"}
    assert {worker.profile for worker in outcome.workers.values()} == {"strict"}


@pytest.mark.usefixtures("open_descriptors")
@pytest.mark.parametrize("kind", ["python", "native"])
def test_workers_are_started_one_by_one_and_end_by_themselves(kind: str) -> None:
    async def exits() -> list[int]:
        async with Stand.of("start", kind=kind, workers=3) as stand:
            return [await (await stand.start_one()).exited() for _ in range(2)]

    assert asyncio.run(exits()) == [0, 0]
    assert children() == []


@pytest.mark.usefixtures("open_descriptors")
def test_idle_workers_are_there_until_they_are_dismissed() -> None:
    async def pids() -> list[int]:
        async with Stand.of("idle", workers=3) as stand:
            await stand.start_all()
            assert all(map(psutil.pid_exists, stand.pids))
            if os.geteuid():
                with pytest.raises(NotMeasured, match="only root may look into workers"):
                    proportional_set_sizes(stand.pids)
            else:
                assert min(proportional_set_sizes(stand.pids)) > 0.1
            return stand.pids

    found = asyncio.run(pids())
    assert len(found) == 3
    assert not any(map(psutil.pid_exists, found))


def test_the_peers_of_multiprocessing_run_a_script_and_are_gone_afterwards() -> None:
    """In a process of its own: what multiprocessing starts stays until that ends."""
    done = subprocess.run([sys.executable, "-c", CHILDREN], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    assert json.loads(done.stdout) == [[True, True], [], 0]


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("start", {"kind": "python", "workers": 2}),
        ("start", {"kind": "native", "workers": 2}),
        ("idle", {"workers": 2}),
        ("hub", {"clients": 2}),
        ("messages", {"rounds": 1, "turns": 1}),
    ],
)
def test_all_that_is_measured_is_strictly_confined(name: str, variables: dict[str, Any]) -> None:
    workers = plan_of(name, **variables).workers.values()
    assert [worker.policy for worker in workers] == [PROFILES["strict"]] * len(workers)


@pytest.mark.parametrize(
    ("figure", "takes"), [(messages, "run_of"), (connects, "taking_turns")], ids=["messages", "connects"]
)
def test_messages_and_connections_are_measured_on_one_core(
    figure: Any, takes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look(*_: object, **__: object) -> None:
        raise NotMeasured(f"{len(os.sched_getaffinity(0))} cores")

    monkeypatch.setattr(figure, takes, look)
    with pytest.raises(NotMeasured, match=r"^1 cores$"):
        asyncio.run(figure.measure())


def test_a_start_is_measured_in_milliseconds_until_the_worker_is_ready() -> None:
    async def events() -> list[str]:
        async with Stand.of("start", kind="python", workers=1) as stand:
            await stand.start_one()
            return [type(event).__name__ for event in stand.events if getattr(event, "worker", None)]

    assert "WorkerReady" in asyncio.run(events())
    assert 1000 <= since(time.perf_counter() - 1) < 2000


INTERRUPTED: Final = """
from harness.bench import idle
from harness.command import main
idle.SIBLINGS = 30
main()
"""


def has_workers(process: psutil.Process) -> bool:
    return len(process.children(recursive=True)) > 5


def has_peers(process: psutil.Process) -> bool:
    # Of one that has just ended there is no command line.
    known = [child.as_dict(["cmdline"])["cmdline"] or [] for child in process.children()]
    return any("spawn_main" in " ".join(words) for words in known)


@pytest.mark.parametrize("has_some", [has_workers, has_peers], ids=["workers", "peers"])
def test_an_interrupt_of_the_whole_group_is_told_in_one_line(
    has_some: Callable[[psutil.Process], bool], tmp_path: Path
) -> None:
    """In the midst of its workers, and of as many peers, each of which would have something to say."""
    command = [sys.executable, "-c", INTERRUPTED, "bench", "--only", "memory"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "memory …\n"
        until(lambda: has_some(psutil.Process(process.pid)), "there are some")
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "imclab: interrupted; nothing is left running\n")


def test_one_core_is_given_back() -> None:
    before = os.sched_getaffinity(0)
    with on_one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("status", "error"), [(Status.UNSUPPORTED, NotMeasured), (Status.FAILED, RuntimeError)], ids=str
)
def test_a_run_that_does_not_pass_is_no_number(
    status: Status, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def supervise(plan: Plan) -> Outcome:
        return Outcome(plan.cell, status, "a reason", workers={}, events=(WorkerReady(at=0, worker="client"),))

    monkeypatch.setattr(runs, "supervise", supervise)
    with pytest.raises(error, match="a reason"):
        asyncio.run(run_of("hub", clients=1))
