"""The account of a run, the report of a failure, and the command that repeats it."""

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import chosen, planned
from harness.events import AddressLost, FacetShut, Offence, Reported, StepEnded, WorkerStarted
from harness.hang import Doing, Hang, WorkerState
from harness.outcome import Outcome, Output, Status, WorkerOutcome
from harness.plan import Plan
from harness.planner import plans_of
from harness.report.text import account, failure, repeat, summary
from harness.supervisor import run_plan
from harness.topology import as_text
from tests.harness.topologies import HEAD, PAIR, only, written

Write = Callable[..., Path]

INTRODUCTION: Final = Path(__file__).parents[3] / "configs" / "introduction.imclab.yaml"


def test_the_account_names_who_connected_to_whom_what_was_passed_and_what_was_refused(protocol: str) -> None:
    plan = only(plans_of(INTRODUCTION, {"protocol": protocol}))
    told = account(plan, run_plan(plan))
    port = (
        f"under {'names' if protocol in ('stream', 'datagram') else 'strict'} with 3 BoundSocket, 4 its SocketAddress"
    )
    lines = [
        f"alice  starts {port} (-X -1: not exported), 6 SocketAddress 'bob', 7 SocketAddress 'friend' of carol",
        f"bob    starts {port} (-X 5: exported)",
        f"carol  starts {port} (-X 5: exported)",
        "alice  connects to SocketAddress of bob → to_bob",
        "bob    accepts a connection → from_alice",
        "alice  sendmsg 'meet carol' on to_bob + friend [SocketAddress of carol]",
        "bob    recvmsg on from_alice: 'meet carol' [SocketAddress of carol] → carol",
        "bob    connects to SocketAddress of carol → to_carol",
        "carol  accepts a connection → from_bob",
        "bob    sendmsg 'hi' on to_carol",
        "carol  recvmsg on from_bob: 'hi'",
        "carol  was killed: the scenario says so",
        "bob    sendmsg 'hi' on to_carol: refused, EIO (the peer is gone), as expected",
        "passed in S s: alice exited with 0, bob exited with 0, carol was ended by SIGKILL",
    ]
    told = re.sub(r"passed in \d+\.\d\d s", "passed in S s", told)
    assert told.splitlines() == [f"introduction[{protocol}]", *(f"  {line}" for line in lines)]


def test_a_worker_without_a_service_port_and_one_that_exported_nothing_are_told(write: Write) -> None:
    plan = only(plans_of(write(PAIR)))
    started = tuple(WorkerStarted(at=0.0, worker=name, pid=1) for name in plan.workers)
    told = account(plan, Outcome("t", Status.FAILED, "it was lost", {}, started))
    assert "a  starts with 3 BoundSocket, 4 its SocketAddress (-X 5: never exported)" in told
    assert "b  starts with no service port" in told


def ended(plan: Plan, result: dict[str, Any], difference: str | None = None, **worker: Any) -> Outcome:
    """Return the outcome of a run whose first step, at the worker a, had this result."""
    step = plan.steps()[0].number
    told = (
        WorkerStarted(at=0.0, worker="a", pid=1),
        StepEnded(at=0.0, worker="a", step=step, result=result, difference=difference),
    )
    return Outcome("t", Status.FAILED, "because", {"a": WorkerOutcome("a", 0, **worker)}, told, "file:1:2", 1.0)


def test_of_a_worker_that_never_started_it_is_not_said_that_it_did_or_was_lost(receiving: Plan) -> None:
    """Where the start of the others failed: b is in the plan and in the outcome."""
    outcome = ended(receiving, {"error": None})
    outcome = replace(outcome, workers={**outcome.workers, "b": WorkerOutcome("b", None)})
    told = account(receiving, outcome).splitlines()
    assert [line for line in told if line.startswith("  b ")] == []
    assert told[-1] == "  failed in 1.00 s: a exited with 0"


def test_where_nothing_was_started_nothing_else_is_said(receiving: Plan) -> None:
    outcome = Outcome("t", Status.UNSUPPORTED, "because", {"a": WorkerOutcome("a", None)}, ())
    assert account(receiving, outcome) == "t\n  unsupported, and nothing was started: because"


@pytest.fixture
def receiving(write: Write) -> Plan:
    """Return a plan whose first step receives."""
    return only(plans_of(write(f"{PAIR}scenario:\n- {{at: a, do: recvmsg, socket: INVALID, as: x}}\n")))


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"error": None, "data": {"size": 2, "head": "aGk="}}, "'hi' → x"),
        ({"error": None, "data": {"size": 0, "head": ""}}, "'' → x"),
        ({"error": None, "data": {"size": 5000, "head": "YWFh" * 100}}, f"'{'a' * 60}'… (5000 bytes) → x"),
        ({"error": None, "data": {"size": 1, "head": "/w=="}}, r"'\\xff' → x"),
        ({"error": None}, "no data → x"),
        ({"error": None, "descriptors": [{"kind": "INVALID"}]}, "no data [INVALID] → x"),
        ({"error": "EIO", "detail": "gone"}, "refused, EIO (gone)"),
        ({"error": "EIO", "detail": "\x1b[2J"}, r"refused, EIO (\x1b[2J)"),
    ],
)
def test_a_step_is_told_with_what_came_of_it(receiving: Plan, result: dict[str, Any], told: str) -> None:
    assert f"  a  recvmsg on INVALID: {told}" in account(receiving, ended(receiving, result)).splitlines()


def test_a_step_that_differs_is_marked(receiving: Plan) -> None:
    told = account(receiving, ended(receiving, {"error": None}, "expected EIO, got success"))
    assert "  a ✗ recvmsg on INVALID: no data → x" in told.splitlines()


def test_a_failure_is_told_with_place_reason_account_output_and_how_to_repeat_it(receiving: Plan) -> None:
    outcome = ended(receiving, {"error": None}, stdout=Output(b"out\n", 4), stderr=Output(b"er\nr", 9000))
    assert failure(receiving, outcome).splitlines() == [
        "file:1:2: because",
        "",
        *account(receiving, outcome).splitlines(),
        "",
        "a, stdout:",
        "out",
        "",
        "a, stderr:",
        "er",
        "r",
        "… 8996 bytes more",
        "",
        f"repeat it: imclab run -v {receiving.file}",
    ]


def test_a_hang_is_told_behind_the_reason(receiving: Plan) -> None:
    hang = Hang({"a": WorkerState("a", Doing.IDLE)}, (), (), ())
    lines = failure(receiving, replace(ended(receiving, {"error": None}), hang=hang)).splitlines()
    assert lines[:4] == ["file:1:2: because", "", "when the deadline passed:", "  a  idle: it waits for the scenario"]


def test_a_failure_without_a_step_is_told_with_its_file(receiving: Plan) -> None:
    outcome = replace(ended(receiving, {"error": None}), place=None)
    assert failure(receiving, outcome).startswith(f"{receiving.file}: because\n")


def test_what_a_worker_writes_cannot_steer_the_terminal(receiving: Plan) -> None:
    outcome = ended(receiving, {"error": None}, stderr=Output(b"\x1b]0;title\x07\r\x1b[1A\xe2\x80\xae", 20))
    outcome = replace(
        outcome,
        events=(
            *outcome.events,
            Reported(at=0, worker="a", key="\x1b[2J", value="\x1b[2J"),
            Offence(at=0, worker="a", rules="its control channel", text="no message of a worker: '\\x1b'"),
        ),
    )
    told = failure(receiving, outcome)
    assert [character for character in told if not character.isprintable() and character != "\n"] == []
    assert r"\x1b]0;title\x07\r\x1b[1A" in told


def test_an_address_that_was_shut_or_leads_nowhere_is_told_at_whose_it_is(receiving: Plan) -> None:
    facts: dict[str, Any] = {"at": 0, "worker": "a", "text": "so it is"}
    events = (FacetShut(name="b", **facts), AddressLost(name="extra", **facts), AddressLost(name="", **facts))
    outcome = ended(receiving, {"error": None})
    told = account(receiving, replace(outcome, events=(*outcome.events, *events))).splitlines()
    assert [line.strip() for line in told if "so it is" in line] == [
        "a ✗ its address b was shut: so it is",
        "a ✗ its export extra leads nowhere: so it is",
        "a ✗ its address leads nowhere: so it is",
    ]


def test_a_report_of_any_size_and_depth_is_one_short_line(receiving: Plan) -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    reports = [Reported(at=0, worker="a", key="k", value=value) for value in (deep, "x" * 10**6, list(range(10**5)))]
    outcome = ended(receiving, {"error": None})
    lines = account(receiving, replace(outcome, events=(*outcome.events, *reports))).splitlines()
    told = [line for line in lines if "reported k = " in line]
    assert len(told) == 3
    assert all(len(line) < 400 for line in told)


def test_the_summary_is_one_line_with_the_reason_where_there_is_one() -> None:
    outcome = Outcome("t[x]", Status.TIMED_OUT, "too slow", {}, (), seconds=1.234)
    assert summary(outcome) == "t[x]: timed out in 1.23 s: too slow"
    assert summary(replace(outcome, status=Status.PASSED)) == "t[x]: passed in 1.23 s"


# Text that would be read as something else, or would end too early.
AWKWARD: Final = (
    *("5", "true", "null", "~", "", " a ", "a #b", "'a'", "&a", "[1]", "a: b", "-", "--set", "=", "a=b", '"', "\\"),
    *("\x85", "\u2028", "\t", "\n", "a\\nb", "\U000e0001"),
)
PLAIN: Final = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="{$\ufeff\ufffe\uffff")
SCALARS: Final = (
    st.integers(-(2**60), 2**60)
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(PLAIN, max_size=8)
    | st.sampled_from(AWKWARD)
)


@given(st.lists(SCALARS, min_size=2, max_size=4, unique_by=as_text), SCALARS)
def test_the_command_that_repeats_a_cell_chooses_that_cell_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], value: Any
) -> None:
    axis = ", ".join(map(in_yaml, values))
    text = f"{HEAD}vars: {{v: 1}}\nmatrix: {{n: [{axis}]}}\nworkers: {{a: {{program: 'm:f', protocol: stream}}}}\n"
    file = written(tmp_path_factory.getbasetemp(), text, "it's $HOME.imclab.yaml")
    for plan in plans_of(file, {"v": value}):
        command = shlex.split(repeat(plan))
        assert command[:3] == ["imclab", "run", "-v"]
        settings = [
            setting for option, setting in zip(command[3:-1:2], command[4:-1:2], strict=True) if option == "--set"
        ]
        again = only(planned([Path(command[-1])], chosen(None, settings)))
        assert (again, again.replaced, type(again.replaced["v"])) == (plan, {"v": value}, type(value))


def in_yaml(value: Any) -> str:
    """Return a scalar as YAML has it, whatever is in it."""
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'
    return repr(value).lower()
