"""What the workers of `imclab compare` count by themselves, beside what the topologies hold of them."""

import os
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from sandbox.imc import Imc
from sandbox.programs.compare import system_calls
from sandbox.programs.compare.system_calls import CALLS, between, traced
from sandbox.protocols import PROTOCOLS

if TYPE_CHECKING:
    from sandbox.worker import Worker

STRACE = shutil.which("strace", path=os.defpath)


def test_there_is_a_list_of_both_sides_for_each_protocol() -> None:
    assert {protocol: set(sides) for protocol, sides in CALLS.items()} == {
        protocol: {"connect", "accept"} for protocol in PROTOCOLS
    }


@pytest.mark.skipif(STRACE is None, reason="no strace here to compare the list with")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_list_is_what_strace_sees(protocol: str) -> None:
    assert STRACE is not None
    assert traced(STRACE, protocol) == CALLS[protocol]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_without_strace_the_list_is_what_is_reported(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    reports: dict[str, object] = {}
    worker = SimpleNamespace(imc=Imc(protocol), report=reports.__setitem__)
    system_calls.counts(cast("Worker", worker))
    assert reports == {
        "by": "the code's own list",
        "connect": list(CALLS[protocol]["connect"]),
        "accept": list(CALLS[protocol]["accept"]),
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_calls_of_a_protocol_are_those_that_it_says_it_needs(protocol: str) -> None:
    always = {
        "sendmsg",
        "recvmsg",
        "poll",
        "close",
        "pread64",
        "getsockname",
        "getpeername",
        "getsockopt",
        "newfstatat",
    }
    called = {call for side in CALLS[protocol].values() for call in side}
    assert called - always <= PROTOCOLS[protocol].calls


def test_calls_are_those_between_the_last_two_marks_of_whoever_makes_them() -> None:
    lines = [
        "getppid() = 1",
        "socket(AF_UNIX) = 3",
        "getppid() = 1",
        "strace: Process 7 attached",
        "[pid     6] getppid() = 1",
        "[pid     6] connect(3,  <unfinished ...>",
        "[pid     7] getpgrp() = 1",
        "[pid     7] accept4(4) = 5",
        "[pid     6] <... connect resumed>) = 0",
        "[pid     6] brk(NULL) = 0",
        "[pid     6] close(4) = 0",
        "[pid     7] getpgrp() = 1",
        "[pid     6] getppid() = 1",
    ]
    assert between(lines, "getppid") == ("connect", "close")
    assert between(lines, "getpgrp") == ("accept4",)
