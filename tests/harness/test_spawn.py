"""The supervisor's end of the zygote, where it is not seen through a whole run."""

import asyncio
import os

import pytest

from harness import spawn
from harness.launcher import ROOT
from harness.spawn import Terms, Zygote, pid_of
from tests.children import children

LATE = """
import sys, time
sys.path.insert(0, {root!r})
from sandbox import zygote
tell = zygote.tell
zygote.tell = lambda *said: (time.sleep(1), tell(*said))
zygote.main()
"""

# The manifest of a native worker that is told nothing and ends with 0.
PASSES = {
    "descriptors": [],
    "exports": False,
    "env": {},
    "command": ["/bin/true", "true"],
    "folder": "/",
    "listens": False,
    "invalid": None,
}


def test_a_start_that_is_given_up_between_clone_and_its_news_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    async def start_and_give_up() -> None:
        await asyncio.wait_for(Zygote.start(workers=1), 0.5)

    monkeypatch.setattr("harness.launcher.PROGRAM", LATE.format(root=ROOT))
    with pytest.raises(TimeoutError):
        asyncio.run(start_and_give_up())
    assert children() == []


def test_the_pid_of_a_pidfd_is_the_host_s() -> None:
    pidfd = os.pidfd_open(os.getpid())
    assert pid_of(pidfd) == os.getpid()
    os.close(pidfd)


def test_a_worker_that_is_forked_after_go_runs_at_once_with_what_it_was_given() -> None:
    """Not even the number of what `go` closed may be lost to it: the next descriptors of the zygote have that one."""

    async def statuses() -> list[int]:
        zygote = await Zygote.start(workers=1)
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            await zygote.go()
            late = [await zygote.spawn(Terms(), PASSES, dict.fromkeys(range(3), nothing)) for _ in range(2)]
            return [await process.exited for process in late]
        finally:
            os.close(nothing)
            await zygote.stop()

    assert asyncio.run(statuses()) == [0, 0]


@pytest.mark.parametrize("asked", [True, False])
def test_whoever_is_expected_runs_whether_or_not_the_zygote_could_be_asked_ahead(
    asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise BlockingIOError

    async def statuses() -> list[int]:
        zygote = await Zygote.start(workers=1)
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            await zygote.go()
            zygote._expected[Terms()] = None
            with monkeypatch.context() as patched:
                if not asked:
                    patched.setattr(spawn, "send_packet", full)
                zygote._fork_ahead()
            assert bool(zygote._ahead) == asked
            assert bool(zygote._expected) != asked
            processes = [await zygote.spawn(Terms(), PASSES, dict.fromkeys(range(3), nothing)) for _ in range(2)]
            return [await process.exited for process in processes]
        finally:
            os.close(nothing)
            await zygote.stop()

    assert asyncio.run(statuses()) == [0, 0]
