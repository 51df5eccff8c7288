"""Runs of one process that go on at the same time have room for their descriptors, or wait."""

import asyncio
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from harness.room import Room
from tests.harness.written import write


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many there may be beside those that are open."""
    monkeypatch.setattr("harness.room.os.listdir", lambda _: ["0"] * 50)
    monkeypatch.setattr("harness.room.resource.getrlimit", lambda _: (150, 150))
    return 100


def test_who_finds_no_room_waits_until_another_ends(limit: int) -> None:
    async def order() -> list[str]:
        room, told, leave = Room(), list[str](), asyncio.Event()

        async def run(name: str, count: int) -> None:
            async with room.held(count):
                told.append(f"{name} in")
                await leave.wait()
            told.append(f"{name} out")

        runs = [asyncio.create_task(run("a", limit - 10)), asyncio.create_task(run("b", 10))]
        await asyncio.sleep(0)
        runs += [asyncio.create_task(run("c", 1))]
        await asyncio.sleep(0)
        assert told == ["a in", "b in"]
        leave.set()
        await asyncio.gather(*runs)
        return told

    told = asyncio.run(order())
    assert sorted(told[2:4]) == ["a out", "b out"]
    assert told[4:] == ["c in", "c out"]


def test_who_is_alone_gets_in_whatever_it_needs(limit: int) -> None:
    async def enter() -> bool:
        async with Room().held(10 * limit):
            return True

    assert asyncio.run(enter())


def test_runs_that_do_not_fit_together_follow_one_another(tmp_path: Path) -> None:
    text = """
        matrix: {run: [1, 2, 3, 4]}
        workers: {w: {program: "idle:main", protocol: socketpair, replicas: 40}}
    """
    file = write(tmp_path, text, idle="def main(worker): pass\n")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard >= 512
    command = f"ulimit -n 512; exec {sys.executable} -c 'from harness.command import main; main()' run -j 4 {file}"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(": passed") == 4
