"""What is read out of a run is what the run was: another run, another answer."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from harness.compare import properties, table
from harness.compare.seen import Seen
from harness.compare.table import cell_of, chosen
from harness.events import Reported, StepEnded, WorkerKilled
from harness.outcome import Outcome, Status, WorkerOutcome
from harness.plan import Plan

# Of each worker, for each kind of step.
Results = Mapping[tuple[str, str], list[dict[str, Any]]]

SETTINGS: Final = {
    "backlog": 5,
    "net.unix.max_dgram_qlen": 10,
    "net.core.somaxconn": 4096,
    "net.core.wmem_default": 212992,
    "Landlock ABI": 7,
}


def plan_of(name: str, protocol: str, facets: bool | None = None) -> Plan:
    """Return the plan of a property's experiment."""
    plans = {table.point_of(plan): plan for plan in table.experiments(chosen(name))}
    return plans[chosen(name)[0].experiment, protocol, facets]


def outcome_of(plan: Plan, reports: Mapping[str, Mapping[str, Any]], results: Results) -> Outcome:
    """Return an outcome in which these workers reported that, and their steps of these kinds had those results."""
    left = {key: list(values) for key, values in results.items()}
    steps = [
        StepEnded(at=0, worker=step.worker, step=step.number, result=left[key].pop(0), difference=None)
        for step in plan.steps()
        if left.get(key := (step.worker, step.body["do"]))
    ]
    workers = {name: WorkerOutcome(name, 0, reports=reports.get(name, {})) for name in plan.workers}
    return Outcome("cell", Status.PASSED, "all as expected", workers, tuple(steps))


def answer(
    name: str,
    protocol: str,
    reports: Mapping[str, Mapping[str, Any]],
    results: Results | None = None,
) -> str:
    """Return what a property's answer is in a cell without facets."""
    (one,) = chosen(name)
    plan = plan_of(name, protocol, one.facets)
    return cell_of(one, plan, outcome_of(plan, reports, results or {}), SETTINGS).shown


FINE: Final[dict[str, Any]] = {"error": None, "detail": None}
EIO: Final[dict[str, Any]] = {"error": "EIO", "detail": "Broken pipe"}


@pytest.mark.parametrize(
    ("name", "reports", "expected"),
    [
        ("before-accept", {"client": {"connect": "done", "answer": "EAGAIN"}}, "yes"),
        ("before-accept", {"client": {"connect": "ETIMEDOUT"}}, "no: it waits"),
        ("never-accepts", {"client": {"connect": "ETIMEDOUT"}}, "ETIMEDOUT at its deadline"),
        (
            "pending",
            {"client": {"connected": 12, "then": "EAGAIN"}},
            "12, then it waits (net.core.wmem_default = 212992)",
        ),
        ("pending", {"client": {"connected": 12, "then": "ETOOMANYREFS"}}, "12, then ETOOMANYREFS"),
        (
            "pending-of-few",
            {"frugal": {"connected": 65, "then": "ETOOMANYREFS"}},
            "65, then ETOOMANYREFS (RLIMIT_NOFILE = 64)",
        ),
        (
            "guessed",
            {"stranger": {"names": 1, "connect": "EPERM"}, "confined": {"list": "ENOENT"}},
            "yes: listed, but EPERM",
        ),
        ("same-token", {"second": {"token": "the same", "makeboundsock": "EADDRINUSE"}}, "EADDRINUSE"),
        ("without-names", {"worker": {"makeboundsock": "done", "received": "hullo"}}, "no"),
        ("landlock-scope", {"client": {"connect": "EIO", "connect_because": "EPERM"}}, "no: EPERM (Landlock ABI = 7)"),
        ("network-namespace", {"client": {"connect": "EIO"}}, "no: EIO"),
        ("global-descriptor", {"client": {"connect": "EIO"}}, "yes: EIO without"),
        ("connect-calls", {"worker": {"connect": ["a", "b", "c"], "by": "strace"}}, "3"),
        ("kind-of-socket", {"worker": {"kind": ["STREAM", "SEQPACKET"]}}, "SEQPACKET and STREAM"),
        (
            "descriptors",
            {"worker": {"address": 1, "pending": 2, "in_flight": 3, "accepted": 4}},
            "1, 2 + 3 in flight, 4",
        ),
        (
            "who-connects",
            {
                "lends": {"pid": 7},
                "forges": {"pid": 8},
                "server": {
                    "seen": [{"SO_PEERCRED": 7, "SCM_CREDENTIALS": 0}, {"SO_PEERCRED": 7, "SCM_CREDENTIALS": 0}]
                },
            },
            "no",
        ),
    ],
)
def test_an_answer_is_what_was_reported(name: str, reports: Mapping[str, Mapping[str, Any]], expected: str) -> None:
    assert answer(name, "socketpair", reports) == expected


@pytest.mark.parametrize(
    ("name", "worker", "do", "result", "expected"),
    [
        ("dead-server", "client", "connect", EIO, "EIO"),
        ("accept-ends", "server", "accept", EIO, "yes: EIO"),
        ("accept-ends", "server", "accept", FINE, "no: a name may be known to anybody"),
        ("taken-over", "client", "connect", EIO, "no: EIO"),
        ("one-breaks-it", "other", "connect", FINE, "no"),
        ("one-breaks-it", "other", "connect", EIO, "yes: EIO"),
        ("maker-exits", "client", "connect", EIO, "no: EIO"),
    ],
)
def test_an_answer_is_what_came_of_a_step(
    name: str, worker: str, do: str, result: dict[str, Any], expected: str
) -> None:
    assert answer(name, "socketpair", {}, {(worker, do): [result]}) == expected


def test_who_is_refused_alone_was_revoked_alone() -> None:
    steps: Results = {("holder", "connect"): [FINE, EIO], ("other", "connect"): [FINE], ("holder", "recvmsg"): [FINE]}
    (one,) = chosen("revoked")
    plan = plan_of("revoked", "socketpair")
    assert cell_of(one, plan, outcome_of(plan, {}, steps), SETTINGS).shown == "yes: EIO"
    steps = {**steps, ("other", "connect"): [EIO]}
    assert cell_of(one, plan, outcome_of(plan, {}, steps), SETTINGS).shown == "no"


def test_those_who_were_not_served_are_lost() -> None:
    reports: dict[str, dict[str, Any]] = {f"client.{number}": {"waits": "yes"} for number in range(16)}
    reports["client.3"] = {"refused": "EIO"}
    reports["hub"] = {"served": [f"client.{number}" for number in range(14)]}
    told = answer("many-clients", "socketpair", reports)
    assert told == "1 lost, 1 refused, 15 of 16 waited"


@pytest.mark.parametrize(("learned", "when"), [(1.5, "at once"), (4.0, "after 3 s")])
def test_when_a_client_learns_is_counted_from_the_kill(learned: float, when: str) -> None:
    plan = plan_of("killed-before-accept", "socketpair")
    reports = {"client": {"connect": "done", "recvmsg": "EIO"}}
    events = (
        Reported(at=0.5, worker="client", key="connect", value="done"),
        WorkerKilled(at=1.0, worker="server", reason="the scenario says so"),
        Reported(at=learned, worker="client", key="recvmsg", value="EIO"),
    )
    workers = {name: WorkerOutcome(name, 0, reports=reports.get(name, {})) for name in plan.workers}
    outcome = Outcome("cell", Status.PASSED, "all as expected", workers, events)
    read = properties.killed_before_accept(Seen(plan, outcome, SETTINGS))
    assert read.text == f"EIO from recvmsg, {when}"
    assert read.evidence["from_kill"] == learned - 1.0


def test_a_run_that_did_not_pass_has_no_answer_but_its_reason() -> None:
    (one,) = chosen("guessed")
    plan = plan_of("guessed", "stream")
    workers = {name: WorkerOutcome(name, 0) for name in plan.workers}
    cell = cell_of(one, plan, Outcome("cell", Status.UNSUPPORTED, "no landlock", workers, ()), SETTINGS)
    assert (cell.shown, cell.answer.evidence) == ("? unsupported", {"reason": "no landlock"})


def test_a_cell_that_cannot_be_says_why() -> None:
    (one,) = chosen("revoked")
    plan = plan_of("revoked", "stream")
    outcome = Outcome("cell", Status.PASSED, "refused, as expected: stream has no facets", {}, ())
    cell = cell_of(one, plan, outcome, SETTINGS)
    assert cell.shown == "no: there are no facets"
    assert cell.answer.evidence == {"refused": "refused, as expected: stream has no facets"}
