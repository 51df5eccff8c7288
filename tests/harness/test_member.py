"""What a member makes of what its worker says, where no honest program could say it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from harness.control_channel import Offence
from harness.journal import Journal
from harness.member import LAST_HEARD_SECONDS, Member, has_stopped, is_ending, statuses
from harness.planner import only_plan_of
from harness.quotas import OUTPUT_BYTES
from harness.routing import Routing
from harness.spawn import Process
from harness.undertaker import Undertaker
from sandbox.imc import Imc
from tests.kernel import until

GUEST = """
schema: 1
name: t
workers:
  guest: {{program: "guest:main", protocol: socketpair, service_port: {0}}}
"""


def as_member(write: Callable[..., Path], service_port: str, check: Callable[[Member], None]) -> None:
    """Call `check` with a member whose worker was never started."""

    async def look() -> None:
        plan = only_plan_of(write(GUEST.format(service_port)), {})
        journal = Journal()
        undertaker = Undertaker()
        routing = Routing(plan, journal, undertaker, lambda *_: None, lambda *_: False)
        check(Member(plan.workers["guest"], journal, routing, undertaker))
        routing.close()

    asyncio.run(look())


def test_an_export_of_another_address_is_an_offence(write: Callable[..., Path]) -> None:
    imc = Imc("socketpair")
    (bound, address), (other_bound, other) = imc.imc_makeboundsock(), imc.imc_makeboundsock()

    def check(guest: Member) -> None:
        guest._identity = address.identity()
        with pytest.raises(Offence):
            guest.exported("", other)
        guest.exported("", address)

    with bound, address, other_bound, other:
        as_member(write, "exported", check)


def test_an_announcement_without_the_export_that_is_due_is_an_offence(write: Callable[..., Path]) -> None:
    def offend(guest: Member) -> None:
        with pytest.raises(Offence):
            guest.announced()

    as_member(write, "exported", offend)
    as_member(write, "unexported", Member.announced)


def test_what_it_wrote_before_its_end_counts_however_soon_that_is_told(write: Callable[..., Path]) -> None:
    def end(guest: Member) -> None:
        guest._output_left = 99
        os.write(guest._stdout.open(), bytes(50))
        os.write(guest._stderr.open(), bytes(50))
        exited = asyncio.get_running_loop().create_future()
        exited.set_result(0)
        guest._ended(exited)
        assert guest.offence == "more than 64 MiB of output"

    as_member(write, "none", end)


async def buried(guest: Member) -> None:
    await guest.bury()
    guest._wrote(OUTPUT_BYTES + 1)
    assert guest.offence is None


def test_what_orphans_of_its_write_when_the_run_is_decided_decides_nothing(write: Callable[..., Path]) -> None:
    def end(guest: Member) -> None:
        # It waits for nothing: there is no process.
        with pytest.raises(StopIteration):
            buried(guest).send(None)

    as_member(write, "none", end)


SPINS = """
import threading

def spin():
    while True:
        pass

for _ in range(3):
    threading.Thread(target=spin, daemon=True).start()
print("up", flush=True)
spin()
"""


def test_a_process_has_stopped_when_all_of_its_threads_have() -> None:
    with subprocess.Popen([sys.executable, "-c", SPINS], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            assert not has_stopped(process.pid)
            process.send_signal(signal.SIGSTOP)
            until(lambda: has_stopped(process.pid), "it has stopped")
            states = [
                (task / "stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
                for task in Path(f"/proc/{process.pid}/task").iterdir()
            ]
            assert states == ["T"] * 4
            process.send_signal(signal.SIGCONT)
            until(lambda: not has_stopped(process.pid), "it goes on")
        finally:
            process.kill()
    assert has_stopped(process.pid), "one that is gone will do nothing more"


LEADER_ENDS: Final = """
import ctypes, threading, time

def go_on():
    print("up", flush=True)
    time.sleep(100)

threading.Thread(target=go_on).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_is_ending_when_nothing_of_it_runs_any_more() -> None:
    with subprocess.Popen([sys.executable, "-c", LEADER_ENDS], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            until(lambda: statuses(process.pid)[0][0] == "Z", "its first thread has ended")
            assert not is_ending(process.pid), "the other one goes on"
        finally:
            process.kill()
        until(lambda: is_ending(process.pid), "it is killed, and nobody has asked for its status")
    assert is_ending(process.pid), "it is gone"


def test_the_number_of_one_that_is_gone_is_soon_anybody_s(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has it then must not be taken for the worker, who would be blamed for what that does."""

    def check(guest: Member) -> None:
        loop = asyncio.get_running_loop()
        exited: asyncio.Future[int] = loop.create_future()
        guest._process = Process(12345, -1, exited)
        assert guest.is_process(12345)
        exited.set_result(0)
        guest._ended(exited)
        assert guest.is_process(12345)
        later = loop.time() + LAST_HEARD_SECONDS + 0.1
        monkeypatch.setattr(loop, "time", lambda: later)
        assert not guest.is_process(12345)
        monkeypatch.undo()

    as_member(write, "none", check)
