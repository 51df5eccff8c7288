"""What a scenario does beside the steps at workers: waits, pauses, repeats, goes on in parallel, looks at reports."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from harness import Outcome, Status, run_topology
from harness.events import AddressRevoked, Event, StepEnded, WorkerExited, WorkerKilled, WorkerSignalled
from tests.harness.written import write

PROBES: Final = """
    defaults: {protocol: socketpair, program: "sandbox.programs.probe:main", service_port: exported}
    workers: {a: {}, b: {}, c: {}}
    routes: [{grant: b, to: a}]
    scenario:
      - {at: a, do: connect, address: b, as: x}
      - {at: b, do: accept, as: x}
"""
REPORTS: Final = """
    import time

    def main(worker):
        for key, value in worker.args.get("report", {}).items():
            worker.report(key, value)
        if worker.args.get("last"):
            worker.next_step()
"""


def play(tmp_path: Path, steps: str, head: str = PROBES) -> Outcome:
    """Run the steps, after a has connected to b as x."""
    return run_topology(write(tmp_path, head + steps))


def reporting(tmp_path: Path, report: str, steps: str, last: str = "true") -> Outcome:
    """Run the steps beside a worker r that reports, and then lasts, or does not."""
    topology = f"""
    workers:
      r: {{protocol: socketpair, program: "reports:main", args: {{report: {report}, last: {last}}}}}
      s: {{protocol: socketpair, program: "reports:main", args: {{last: true}}}}
    scenario:
{steps}
"""
    return run_topology(write(tmp_path, topology, reports=REPORTS))


def told(outcome: Outcome, *kinds: type[Event]) -> list[Event]:
    return [event for event in outcome.events if isinstance(event, kinds)]


# Revoke

SHARED: Final = """
    matrix: {protocol: [datagram, socketpair, acknowledged]}
    defaults: {protocol: "{{protocol}}", program: "sandbox.programs.probe:main", service_port: unexported}
    workers: {server: {service_port: exported}, holder: {}, other: {}}
    routes:
      - {grant: server, to: holder}
      - {grant: server, to: holder, as: again}
      - {grant: server, to: other}
      - {grant: server.late, to: holder, as: late}
      - {grant: server.late, to: other, as: late}
    scenario:
"""


@pytest.mark.parametrize("protocol", ["datagram", "socketpair", "acknowledged"])
def test_an_address_is_taken_from_one_holder_and_from_no_other(protocol: str, tmp_path: Path) -> None:
    steps = """
      - {at: holder, do: connect, address: server, as: before}
      - {at: server, do: accept, as: before}
      - {revoke: server, from: holder}
      - {at: holder, do: connect, address: server, expect: {error: EIO}}
      - {at: holder, do: connect, address: again, expect: {error: EIO}}
      - {at: other, do: connect, address: server}
      - {at: server, do: accept}
      - {at: holder, do: sendmsg, socket: before, data: still}
      - {at: server, do: recvmsg, socket: before, expect: {data: still}}
"""
    outcome = run_topology(write(tmp_path, SHARED + steps), protocol=protocol)
    assert outcome.passed, outcome.reason
    assert [(e.worker, e.exporter, e.name) for e in outcome.events if isinstance(e, AddressRevoked)] == [
        ("holder", "server", "")
    ]


@pytest.mark.parametrize("protocol", ["datagram", "socketpair", "acknowledged"])
def test_what_was_revoked_before_it_was_exported_leads_nowhere(protocol: str, tmp_path: Path) -> None:
    steps = """
      - {revoke: server.late, from: holder}
      - {at: server, do: makeboundsock, as: [port, address_of_port]}
      - {at: server, do: export, address: address_of_port, name: late}
      - {at: server, do: accept, bound: port}
      - {at: holder, do: connect, address: late, expect: {error: EIO}}
      - {at: other, do: connect, address: late}
"""
    outcome = run_topology(write(tmp_path, SHARED + steps), protocol=protocol)
    assert outcome.passed, outcome.reason


# Pause and resume


def test_who_is_paused_does_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    steps = """
      - {pause: b}
      - {at: a, do: sendmsg, socket: x, data: ping}
      - {at: a, do: recvmsg, socket: x, nonblock: true, expect: {error: EAGAIN}}
      - {resume: b}
      - {at: b, do: recvmsg, socket: x, expect: {data: ping}}
"""
    outcome = play(tmp_path, steps)
    assert outcome.reason == "all as expected"
    signals = [event.signal for event in told(outcome, WorkerSignalled) if isinstance(event, WorkerSignalled)]
    assert signals == ["SIGSTOP", "SIGCONT"]


def test_a_paused_worker_can_be_killed(tmp_path: Path) -> None:
    outcome = play(tmp_path, "      - {pause: b}\n      - {kill: b}\n      - {expect: {exit: {b: SIGKILL}}}\n")
    assert outcome.reason == "all as expected"


def test_who_is_still_paused_at_the_end_is_resumed_so_that_it_can_stop(tmp_path: Path) -> None:
    outcome = play(tmp_path, "      - {pause: b}\n")
    assert outcome.reason == "all as expected"
    assert told(outcome, WorkerKilled) == []


# Waits


def test_a_wait_of_some_time_takes_that_time(tmp_path: Path) -> None:
    outcome = play(tmp_path, "      - {wait: 300ms}\n      - {at: a, do: sendmsg, socket: x}\n")
    *_, before, after = (event.at for event in told(outcome, StepEnded))
    assert outcome.passed
    assert after - before >= 0.3


def test_a_wait_for_an_end_and_a_report_goes_on_when_both_are_there(tmp_path: Path) -> None:
    outcome = reporting(
        tmp_path,
        "{x: 1}",
        "      - {wait: {exit: r, report: {r: [x]}}}\n      - {kill: s}\n      - {expect: {exit: {s: SIGKILL}}}\n",
        last="false",
    )
    assert outcome.reason == "all as expected"
    assert [getattr(event, "worker", "") for event in told(outcome, WorkerExited)] == ["r", "s"]


@pytest.mark.parametrize(
    ("wait", "last", "status", "reason"),
    [
        ("{exit: r}", "true", Status.TIMED_OUT, "r has not ended, after 0.2 s"),
        ("{report: {r: y}}", "true", Status.TIMED_OUT, "r has not reported 'y', after 0.2 s"),
        ("{exit: [r, s], report: {r: [x, y]}}", "true", Status.TIMED_OUT,
         "r has not ended; s has not ended; r has not reported 'y', after 0.2 s"),
        ("{report: {r: y}}", "false", Status.FAILED, "r has not reported 'y'"),
    ],
)  # fmt: skip
def test_what_is_waited_for_in_vain_is_told(wait: str, last: str, status: Status, reason: str, tmp_path: Path) -> None:
    outcome = reporting(tmp_path, "{x: 1}", f"      - {{wait: {wait}, within: 200ms}}\n", last)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert outcome.place is not None
    assert outcome.place.endswith(":8:5")


# Expected reports


@pytest.mark.parametrize(
    "expected", ["{n: 42}", "{n: '>=42', t: x}", "{deep: {l: [1, '<3']}}", "{n: '!=41', none: null}"]
)
def test_a_report_that_fits_is_as_expected(expected: str, tmp_path: Path) -> None:
    report = "{n: 42, t: x, deep: {l: [1, 2]}, none: null}"
    outcome = reporting(tmp_path, report, f"      - {{expect: {{report: {{r: {expected}}}}}}}\n")
    assert outcome.reason == "all as expected"


@pytest.mark.parametrize(
    ("expected", "reason"),
    [
        ("{n: 43}", "r reported 'n': expected 43, got 42"),
        ("{n: '>42', t: y}", "r reported 'n': expected >42, got 42; r reported 't': expected \"y\", got \"x\""),
        ("{other: 1}", "r has not reported 'other'"),
    ],
)
def test_one_that_does_not_fails_the_run_once_it_cannot_change_any_more(
    expected: str, reason: str, tmp_path: Path
) -> None:
    steps = f"      - {{expect: {{report: {{r: {expected}}}}}, within: 20s}}\n"
    outcome = reporting(tmp_path, "{n: 42, t: x}", steps, last="false")
    assert (outcome.status, outcome.reason) == (Status.FAILED, reason)
    assert outcome.seconds < 10
    steps = steps.replace("20s", "200ms")
    outcome = reporting(tmp_path, "{n: 42, t: x}", steps)
    assert (outcome.status, outcome.reason) == (Status.TIMED_OUT, f"{reason}, after 0.2 s")


def test_a_report_that_is_yet_to_come_is_waited_for(tmp_path: Path) -> None:
    counts = """
        def main(worker):
            connection = worker.imc.imc_accept(worker.bound_socket)
            for number in range(5):
                worker.imc.imc_recvmsg(connection)
                worker.report("n", number)
    """
    topology = """
    defaults: {protocol: socketpair, service_port: exported}
    workers: {a: {program: "sandbox.programs.probe:main"}, r: {program: "counts:main"}}
    routes: [{grant: r, to: a}]
    scenario:
      - {at: a, do: connect, address: r, as: c}
      - {repeat: 5, steps: [
          {at: a, do: sendmsg, socket: c},
          {expect: {report: {r: {n: "{{round}}"}}}}]}
    """
    assert run_topology(write(tmp_path, topology, counts=counts)).reason == "all as expected"


def test_each_replica_s_report_is_looked_at(tmp_path: Path) -> None:
    topology = """
    workers:
      r: {protocol: socketpair, program: "reports:main", replicas: 3, args: {report: {me: "{{replica}}"}}}
    scenario:
      - {expect: {report: {"r.*": {me: "{{replica}}"}}}}
      - {expect: {report: {"r.*": {me: "<2"}}}}
    """
    outcome = run_topology(write(tmp_path, topology, reports=REPORTS))
    assert outcome.reason == "r.2 reported 'me': expected <2, got 2"


# Repeated steps


def test_repeated_steps_are_as_if_written_as_often(tmp_path: Path) -> None:
    steps = """
      - repeat: 4
        steps:
          - {at: a, do: sendmsg, socket: x, data: "round {{round}}"}
          - {at: b, do: recvmsg, socket: x, expect: {data: "round {{round}}"}}
          - {repeat: 2, steps: [{at: c, do: socketpair, as: ["left", "right"]}]}
"""
    outcome = play(tmp_path, steps)
    assert outcome.reason == "all as expected"
    assert len(told(outcome, StepEnded)) == 2 + 4 * 4


def test_a_round_that_fails_is_told_at_the_step_s_place(tmp_path: Path) -> None:
    steps = """
      - repeat: 4
        steps:
          - {at: a, do: sendmsg, socket: x, data: "{{round}}"}
          - {at: b, do: recvmsg, socket: x, expect: {data: "0"}}
"""
    outcome = play(tmp_path, steps)
    assert outcome.reason == "b: recvmsg on x: expected data '0' (1 bytes), got '1' (1 bytes)"
    assert outcome.place is not None
    assert outcome.place.endswith(":14:9")


# Parallel steps


def test_branches_go_on_at_the_same_time(tmp_path: Path) -> None:
    # One after the other, a's receive would wait for ever: what ends it comes in the other branch.
    steps = """
      - parallel:
          - {at: a, do: recvmsg, socket: x, expect: {error: EIO}}
          - [{wait: 50ms}, {kill: b}]
      - {at: a, do: sendmsg, socket: x, expect: {error: EIO}}
      - {expect: {exit: {b: SIGKILL}}}
"""
    assert play(tmp_path, steps).reason == "all as expected"


def test_what_follows_waits_for_all_branches(tmp_path: Path) -> None:
    steps = """
      - parallel:
          - [{at: a, do: sendmsg, socket: x, data: one}, {barrier: half}, {at: a, do: sendmsg, socket: x, data: two}]
          - [{wait: 200ms}, {at: c, do: socketpair}]
      - {at: b, do: recvmsg, socket: x, expect: {data: one}}
"""
    outcome = play(tmp_path, steps)
    assert outcome.passed
    order = [getattr(event, "worker", "") for event in told(outcome, StepEnded)][2:]
    assert order == ["a", "a", "c", "b"]


def test_a_branch_that_fails_ends_the_others(tmp_path: Path) -> None:
    steps = """
      - parallel:
          - {at: a, do: recvmsg, socket: x, within: 30s}
          - {at: c, do: accept, bound: INVALID}
"""
    outcome = play(tmp_path, steps)
    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("c: accept: expected success, got EINVAL")
    assert outcome.seconds < 20


# Refused cells


REFUSED: Final = """
    matrix: {{protocol: [stream, socketpair], facets: [true, false]}}
    defaults: {{protocol: "{{{{protocol}}}}", program: "sandbox.programs.probe:main", {settings}}}
    workers: {{a: {{service_port: exported}}, b: {{}}}}
    routes: [{{grant: a, to: b{route}}}]
    refused: [{refused}]
    scenario: []
"""
NO_FACETS: Final = "a speaks stream, where the kernel itself connects: there are no facets"
WHERE: Final = [('facets: "{{facets}}"', ""), ("", ', facets: "{{facets}}"')]


@pytest.mark.parametrize(("settings", "route"), WHERE)
def test_what_a_protocol_rules_out_is_refused_before_anything_starts(
    settings: str, route: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, REFUSED.format(settings=settings, route=route, refused=""))
    assert run_topology(file, protocol="socketpair", facets=True).passed
    assert run_topology(file, protocol="stream", facets=False).passed
    monkeypatch.setattr("harness.supervisor.Run", _never)
    outcome = run_topology(file, protocol="stream", facets=True)
    assert (outcome.status, outcome.reason) == (Status.REFUSED, NO_FACETS)
    assert (outcome.events, outcome.workers) == ((), {})


@pytest.mark.parametrize(("settings", "route"), WHERE)
def test_a_refusal_may_be_expected(settings: str, route: str, tmp_path: Path) -> None:
    refused = "{protocol: [stream], facets: true}"
    file = write(tmp_path, REFUSED.format(settings=settings, route=route, refused=refused))
    outcome = run_topology(file, protocol="stream", facets=True)
    assert (outcome.status, outcome.reason) == (Status.PASSED, f"refused, as expected: {NO_FACETS}")
    assert run_topology(file, protocol="socketpair", facets=True).reason == "all as expected"


def test_an_expected_refusal_that_does_not_come_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, REFUSED.format(settings="", route="", refused="{protocol: stream}"))
    monkeypatch.setattr("harness.supervisor.Run", _never)
    outcome = run_topology(file, protocol="stream", facets=True)
    assert outcome.status is Status.FAILED
    assert outcome.reason == "the topology expects that this is refused, and nothing speaks against it"


def _never(*_: object) -> Callable[..., None]:
    raise AssertionError("something was started")
