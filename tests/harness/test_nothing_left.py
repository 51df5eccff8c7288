"""However a run ends: no process, no name, no descriptor, no temporary file of it is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import Status, run_topology
from tests import user
from tests.children import children
from tests.command import finished
from tests.harness.written import write

ROOT = Path(__file__).parents[2]
INTRODUCTION = ROOT / "configs" / "introduction.imclab.yaml"
PROGRAM = "tests.harness.interrupting"


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir would hold a descriptor itself


def interrupt(number: str, count: int, tmp_path: Path, *prefix: str, impatient: bool = False) -> list[str]:
    """End `count` runs by this signal at random moments; nothing may be left of any of them.

    Who starts them otherwise than as we are may not have all layers of confinement.
    """
    confinement = "none" if prefix else "tightest"
    arguments = [number, str(count), str(INTRODUCTION), confinement, *["impatient"] * impatient]
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    if prefix:
        command = [*prefix, sys.executable, "-m", PROGRAM, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    else:
        done = finished(arguments, module=PROGRAM, cwd=ROOT, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_kill_minus_9_of_the_supervisor_at_50_moments_leaves_nothing(tmp_path: Path) -> None:
    ends = interrupt("SIGKILL", 50, tmp_path)
    assert [end.split()[2] for end in ends] == ["-9"] * 50


@pytest.mark.parametrize("impatient", [False, True], ids=["once", "again and again"])
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_an_interrupted_command_exits_with_130_and_leaves_nothing(number: str, impatient: bool, tmp_path: Path) -> None:
    ends = interrupt(number, 10, tmp_path, impatient=impatient)
    assert [end.split()[2] for end in ends] == ["130"] * 10


def test_as_an_ordinary_user_kill_minus_9_leaves_nothing(tmp_path: Path) -> None:
    if (why_not := user.why_not()) is not None:
        pytest.skip(why_not)
    ends = interrupt("SIGKILL", 10, tmp_path, *user.as_user(tmp_path))
    assert len(ends) == 10


def test_without_a_pid_namespace_kill_minus_9_leaves_nothing(tmp_path: Path) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_pid_namespaces && exec "$@"'
    ends = interrupt("SIGKILL", 20, tmp_path, "unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh")
    assert len(ends) == 20


def test_a_grandchild_that_left_its_session_ends_with_the_run(tmp_path: Path) -> None:
    lock = tmp_path / "held"
    program = """
        import fcntl, os, time

        def main(worker):
            file = os.open(worker.args["lock"], os.O_CREAT | os.O_RDWR)
            reader, writer = os.pipe()
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    os.write(writer, b"x")
                    os.dup2(file, 0)
                    os.closerange(1, 256)
                    time.sleep(3600)
                os._exit(0)
            os.wait()
            os.read(reader, 1)
            os.close(file)
    """
    topology = f"""
        workers:
          guest: {{program: "guest:main", protocol: socketpair, args: {{lock: "{lock}"}}}}
    """
    assert run_topology(write(tmp_path, topology, guest=program)).passed
    # The orphan holds the lock for as long as it lives.
    assert subprocess.run(["/usr/bin/flock", "--nonblock", lock, "true"], check=False).returncode == 0


@pytest.mark.parametrize("protocol", ["stream", "datagram", "socketpair", "acknowledged"])
def test_a_run_leaves_no_descriptor_in_the_supervisor(protocol: str) -> None:
    run_topology(INTRODUCTION, protocol=protocol)
    before = open_descriptors()
    assert run_topology(INTRODUCTION, protocol=protocol).passed
    assert open_descriptors() == before


def test_a_run_that_fails_or_times_out_leaves_no_descriptor_and_no_process(tmp_path: Path) -> None:
    topology = """
        workers:
          stuck: {program: "guest:main", protocol: socketpair, stop: {within: 100ms}}
        within: 3s
    """
    file = write(tmp_path, topology, guest="import time\n\ndef main(worker): time.sleep(3600)\n")
    before = open_descriptors()
    outcome = run_topology(file)
    assert outcome.status is Status.TIMED_OUT
    assert outcome.workers["stuck"].exit_status == -signal.SIGKILL
    assert open_descriptors() == before
    assert children() == []
