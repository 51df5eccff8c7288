"""What a worker may use of the machine, looked at from inside, and what becomes of one that wants more."""

import json
import os
import resource
from pathlib import Path
from typing import Final

import pytest

from harness import Outcome, Status, run_topology
from harness.planner import only_plan_of
from harness.supervisor import run_plan
from tests.harness.written import write

LOOK: Final = """
    import resource

    def main(worker):
        names = ("RLIMIT_AS", "RLIMIT_NOFILE", "RLIMIT_CPU", "RLIMIT_CORE")
        worker.report("limits", {name: resource.getrlimit(getattr(resource, name)) for name in names})
"""
UNLIMITED: Final = [resource.RLIM_INFINITY, resource.RLIM_INFINITY]


def run(tmp_path: Path, limits: str, more: str = "", **programs: str) -> Outcome:
    """Run one worker under these limits."""
    topology = f"""
        workers: {{it: {{program: "it:main", protocol: socketpair{limits and ", limits: " + limits}}}}}
{more}
"""
    return run_topology(write(tmp_path, topology, **programs))


def test_a_worker_has_the_limits_that_the_topology_says(tmp_path: Path) -> None:
    outcome = run(tmp_path, "{address_space: 256MiB, open_files: 100, cpu: 2s, wall: 30s}", it=LOOK)
    assert outcome.workers["it"].reports["limits"] == {
        "RLIMIT_AS": [256 << 20, 256 << 20],
        "RLIMIT_NOFILE": [100, 100],
        "RLIMIT_CPU": [2, 3],
        "RLIMIT_CORE": [0, 0],
    }


def test_without_any_it_has_1024_open_files_and_no_core(tmp_path: Path) -> None:
    outcome = run(tmp_path, "", it=LOOK)
    assert outcome.workers["it"].reports["limits"] == {
        "RLIMIT_AS": UNLIMITED,
        "RLIMIT_NOFILE": [1024, 1024],
        "RLIMIT_CPU": UNLIMITED,
        "RLIMIT_CORE": [0, 0],
    }


def test_the_nearest_layer_says_each_limit(tmp_path: Path) -> None:
    topology = """
        defaults: {protocol: socketpair, limits: {open_files: 100, address_space: 1GiB}}
        kinds: {k: {limits: {open_files: 200, cpu: 5s}}}
        workers: {it: {kind: k, program: "it:main", limits: {open_files: 300}}}
    """
    outcome = run_topology(write(tmp_path, topology, it=LOOK))
    assert outcome.workers["it"].reports["limits"] == {
        "RLIMIT_AS": [1 << 30, 1 << 30],
        "RLIMIT_NOFILE": [300, 300],
        "RLIMIT_CPU": [5, 6],
        "RLIMIT_CORE": [0, 0],
    }


def test_a_native_worker_has_them_too(tmp_path: Path) -> None:
    topology = """
        workers:
          it: {command: [sh, -c, "ulimit -n; ulimit -v"], protocol: socketpair,
               limits: {open_files: 77, address_space: 1GiB}}
    """
    assert run_topology(write(tmp_path, topology)).workers["it"].stdout.text() == "77\n1048576\n"


GREEDY: Final[dict[str, tuple[str, str, int, str]]] = {
    "memory": (
        "{address_space: 256MiB}",
        "try:\n            bytearray(512 << 20)\n        except MemoryError:\n            return 5",
        5,
        "it exited with 5",
    ),
    "descriptors": (
        "{open_files: 64}",
        (
            "import os, errno\n        try:\n            while True: os.dup(0)\n"
            "        except OSError as error:\n            return error.errno"
        ),
        24,
        "it exited with 24",
    ),
    "output": (
        "{output: 1MiB}",
        "import os\n        while True: os.write(1, bytes(65536))",
        -9,
        "it broke the rules of its output: more than 1 MiB of output",
    ),
    "the processor": (
        "{cpu: 1s}",
        "import time\n        while time.process_time() < 1.2: pass",
        -24,
        "it was ended by SIGXCPU",
    ),
    "time": (
        "{wall: 300ms}",
        "import time\n        time.sleep(3600)",
        -9,
        "it was killed: it ran longer than its limit of 0.3 s",
    ),
}


@pytest.mark.parametrize("what", GREEDY)
def test_who_wants_more_is_denied_or_ended_and_that_is_told(what: str, tmp_path: Path) -> None:
    limits, source, status, reason = GREEDY[what]
    outcome = run(tmp_path, limits, it=f"\n    def main(worker):\n        {source}\n")
    assert outcome.workers["it"].exit_status == status
    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith(reason)


@pytest.mark.parametrize("what", GREEDY)
def test_without_the_limit_it_would_have_had_it(what: str, tmp_path: Path) -> None:
    _, source, _, _ = GREEDY[what]
    longest = "{wall: 2500ms}" if what == "time" else "{wall: 20s}"
    limits = {"descriptors": "{open_files: 2000}", "memory": "", "output": ""}.get(what, longest)
    source = source.replace("while True: os.dup(0)", "for _ in range(1500): os.dup(0)")
    source = source.replace("while True: os.write", "for _ in range(32): os.write")
    outcome = run(tmp_path, limits, it=f"\n    def main(worker):\n        {source}\n")
    # It got what it wanted, and went on to its end or until its time was up.
    assert outcome.workers["it"].exit_status == (-9 if what == "time" else 0)


def test_without_any_limit_it_may_write_64_mib(tmp_path: Path) -> None:
    writes = "import os\n\ndef main(worker):\n    for _ in range(1040): os.write(1, bytes(65536))\n"
    assert run(tmp_path, "", it=writes).workers["it"].offence == "more than 64 MiB of output"
    outcome = run(tmp_path, "{output: 65MiB}", it=writes)
    assert (outcome.reason, outcome.workers["it"].stdout.size) == ("all as expected", 65 << 20)


def test_who_has_the_pipes_of_an_offender_is_read_no_more(tmp_path: Path) -> None:
    leaves = """
        import os, time

        def main(worker):
            if os.fork():
                time.sleep(3600)
            while True:
                os.write(1, bytes(65536))
    """
    worker = run(tmp_path, "{output: 1MiB}", "        scenario: [{wait: 1s}]", it=leaves).workers["it"]
    assert worker.offence == "more than 1 MiB of output"
    assert worker.stdout.size < 4 << 20


def test_the_end_of_its_time_may_be_expected(tmp_path: Path) -> None:
    topology = """
        workers: {it: {program: "it:main", protocol: socketpair, limits: {wall: 200ms}}}
        scenario: [{wait: {exit: it}}, {expect: {exit: {it: SIGKILL}}}]
    """
    outcome = run_topology(write(tmp_path, topology, it="import time\n\ndef main(worker): time.sleep(3600)\n"))
    assert outcome.reason == "all as expected"


def test_a_crash_leaves_no_core_behind(tmp_path: Path) -> None:
    file = tmp_path / "crash.sh"
    file.write_text("#!/bin/sh\nkill -SEGV $$\n", encoding="utf-8")
    file.chmod(0o755)
    topology = "workers: {it: {command: [./crash.sh], protocol: socketpair}}\n"
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        outcome = run_topology(write(tmp_path, topology))
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    assert outcome.workers["it"].exit_status == -11
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crash.sh", "written.imclab.yaml"]


def test_more_than_the_user_may_have_is_unsupported_and_nothing_starts(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can become another user")
    topology = 'workers: {it: {program: "it:main", protocol: socketpair, limits: {open_files: 3000}}}\n'
    plan = only_plan_of(write(tmp_path, topology, it=LOOK), {})
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000))
            os.setuid(65534)
            outcome = run_plan(plan)
            os.write(writer, json.dumps([str(outcome.status), outcome.reason, len(outcome.events)]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        status, reason, events = json.loads(told.read())
    os.waitpid(child, 0)
    assert (status, events) == ("unsupported", 0)
    assert reason == "it is to have a limit of 3000 (RLIMIT_NOFILE), and ours cannot be more than 2000"
