"""What is told of a profile: all of it."""

import errno
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.report.profile import portrait
from sandbox.confinement.policy import NATIVE, PROFILES, Action, Condition, Layer, Policy, Rule, allow, each

LISTS = {
    Action.ALLOW: ("system calls that are allowed", "allowed where the arguments"),
    Action.KILL: ("that end the process (SIGSYS)", "all others fail"),
    errno.ENOSYS: ("that fail with ENOSYS", "that end the process"),
}


def lines_of(policy: Policy) -> list[str]:
    return portrait(policy).splitlines()


def between(policy: Policy, first: str, last: str) -> Iterator[str]:
    """Yield the calls that are listed between two headings."""
    text = portrait(policy)
    yield from re.findall(r"\w+", text[text.index(f"\n{first}\n") + len(first) + 2 : text.index(f"\n{last}")])


@pytest.mark.parametrize("name", ["strict", "names"])
@pytest.mark.parametrize("action", LISTS, ids=str)
def test_every_call_is_listed_with_what_becomes_of_it(name: str, action: Action | int) -> None:
    policy = PROFILES[name]
    expected = {rule.call for rule in policy.rules if rule.action == action and not rule.conditions}
    assert len(expected) > 10
    assert sorted(expected) == list(between(policy, *LISTS[action]))


def test_what_depends_on_arguments_is_told_by_them() -> None:
    rules = (
        *each("fcntl", 1, (0, 10)),
        Rule("clone", Action.ALLOW, (Condition(0, 6, 7),)),
        Rule("mmap", Action.ALLOW, (Condition(2, 0, 4),)),
        Rule("mmap", Action.ALLOW, (Condition(2, 4, 4), Condition(3, 0, 32))),
        Rule("ioctl", errno.ENOTTY, (Condition(1, 0x5401),)),
    )
    lines = lines_of(replace(PROFILES["strict"], rules=rules))
    first = lines.index("allowed where the arguments, counted from 0, are")
    assert lines[first + 1 : first + 5] == [
        "  clone: 0 & 0x7 is 0x6",
        "  fcntl: 1 is 0x0 or 0xa",
        "  mmap: 2 & 0x4 is 0x0",
        "  mmap: 2 & 0x4 is 0x4, 3 & 0x20 is 0x0",
    ]
    assert lines[lines.index("that fail with ENOTTY") + 1] == "  ioctl: 1 is 0x5401"


def test_what_a_native_program_has_beside_is_told_once() -> None:
    lines = lines_of(PROFILES["strict"])
    first = lines.index("to a native program beside")
    told = re.findall(r"\w+", " ".join(lines[first + 1 : first + 3]))
    assert "execve" in told
    assert "dup" not in told
    assert "dup" in {rule.call for rule in NATIVE}


def test_layers_and_limits_are_told_or_that_there_are_none() -> None:
    lines = lines_of(PROFILES["names"])
    assert [line.split()[0] for line in lines[2 : 2 + len(PROFILES["names"].layers)]] == [
        layer.value for layer in Layer if layer is not Layer.NETWORK_NAMESPACE
    ]
    assert any(line.startswith("limits, where a worker says no others: RLIMIT_AS 4294967296, ") for line in lines)
    assert lines_of(PROFILES["none"]) == [
        "none",
        "layers: none",
        "limits, where a worker says no others: none",
        "system calls: all",
    ]


def test_what_one_s_own_changes_comes_first() -> None:
    policy = replace(
        PROFILES["strict"],
        name="mine",
        base="strict",
        allowed=("sync",),
        rules=(*PROFILES["strict"].rules, *allow("sync")),
        readable=("/etc/hosts",),
        allow_missing=frozenset({Layer.LANDLOCK}),
        layers=PROFILES["strict"].layers - {Layer.OWN_UID},
        refuses=False,
    )
    lines = lines_of(policy)
    assert lines[:7] == [
        "mine",
        "  made of strict",
        "  without own_uid",
        "  refuse false",
        "  allow_missing landlock",
        "  readable /etc/hosts",
        "  allow sync",
    ]
    assert [line.split()[0] for line in lines if line.endswith(", may be missing")] == ["landlock"]
    assert "sync" in between(policy, *LISTS[Action.ALLOW])
