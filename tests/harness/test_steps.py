"""Real runs: what each step does and how it fails, in which order steps go, and what ends a run.

Most runs are one topology of two probes, a (who exports its address) and b (who was granted it), over each protocol.
"""

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from harness.events import StepEnded, WorkerExited, WorkerKilled
from harness.outcome import Outcome, Status
from harness.planner import plans_of
from harness.report.text import failure
from harness.supervisor import run_plan
from tests.harness.topologies import HEAD, PROBES, PROTOCOLS, only

Run = Callable[..., Outcome]
Write = Callable[..., Path]

CONNECTED: Final = """\
- {at: b, do: connect, address: a, as: to_a}
- {at: a, do: accept, as: to_b}
"""

# What works in every protocol.
SCENARIOS: Final[dict[str, str]] = {
    "text is received as its bytes": CONNECTED + """\
- {at: b, do: sendmsg, socket: to_a, data: "é!", expect: {sent: 3}}
- {at: a, do: recvmsg, socket: to_b, expect: {data: !!binary w6kh, descriptors: [], flags: 0}}
""",
    "binary data": CONNECTED + """\
- {at: b, do: sendmsg, socket: to_a, data: !!binary /wAKIg==, expect: {sent: 4}}
- {at: a, do: recvmsg, socket: to_b, expect: {data: !!binary /wAKIg==}}
""",
    "an empty message is no end": CONNECTED + """\
- {at: b, do: sendmsg, socket: to_a, expect: {sent: 0}}
- {at: a, do: recvmsg, socket: to_b, expect: {data: ""}}
""",
    "the longest message, and one byte more": CONNECTED + """\
- {at: b, do: sendmsg, socket: to_a, data: {size: 131073}, expect: {error: EINVAL}}
- {at: b, do: sendmsg, socket: to_a, data: {size: 131072}, expect: {sent: 131072}}
- {at: a, do: recvmsg, socket: to_b, expect: {data: {size: 131072}, flags: 0}}
""",
    "data that does not fit is cut, and the flag says so": CONNECTED + """\
- {at: b, do: sendmsg, socket: to_a, data: hello}
- {at: a, do: recvmsg, socket: to_b, size: 2, expect: {data: he, flags: 1}}
- {at: b, do: sendmsg, socket: to_a, data: hello}
- {at: a, do: recvmsg, socket: to_b, size: 0, expect: {data: "", flags: 1}}
""",
    "descriptors that do not fit are dropped, and the flag says so": CONNECTED + """\
- {at: b, do: sendmsg, socket: to_a, descriptors: [INVALID, address]}
- {at: a, do: recvmsg, socket: to_b, max_descriptors: 1, expect: {descriptors: [INVALID], flags: 2}}
- {at: b, do: sendmsg, socket: to_a, data: x, descriptors: [address]}
- {at: a, do: recvmsg, socket: to_b, max_descriptors: 0, size: 0, expect: {data: "", descriptors: [], flags: 3}}
""",
    "sizes that are out of range": CONNECTED + """\
- {at: a, do: recvmsg, socket: to_b, size: 131073, expect: {error: EINVAL}}
- {at: a, do: recvmsg, socket: to_b, size: -1, expect: {error: EINVAL}}
- {at: a, do: recvmsg, socket: to_b, max_descriptors: 9, expect: {error: EINVAL}}
""",
    "an empty queue": CONNECTED + """\
- {at: a, do: recvmsg, socket: to_b, nonblock: true, expect: {error: EAGAIN}}
""",
    "every kind of descriptor that may travel": CONNECTED + """\
- {at: b, do: socketpair, as: [left, right]}
- {at: b, do: mem_obj_create, as: memory}
- {at: b, do: sendmsg, socket: to_a, data: x, descriptors: [a, right, memory, INVALID]}
- at: a
  do: recvmsg
  socket: to_b
  as: [own_address, end, shared, nothing]
  expect: {data: x, descriptors: [SocketAddress, DataOnlySocket, SharedMemory, INVALID]}
- {at: b, do: sendmsg, socket: left, data: through the pair}
- {at: a, do: recvmsg, socket: end, expect: {data: through the pair}}
""",
    "eight descriptors, and nine": CONNECTED + """\
- {at: b, do: sendmsg, socket: to_a, descriptors: [a, a, a, a, a, a, a, a, a], expect: {error: EINVAL}}
- {at: b, do: sendmsg, socket: to_a, descriptors: [a, a, a, a, a, a, a, a]}
- {at: a, do: recvmsg, socket: to_b, as: [c, d], expect: {descriptors: [SocketAddress, SocketAddress, SocketAddress,
   SocketAddress, SocketAddress, SocketAddress, SocketAddress, SocketAddress]}}
""",
    "what may not travel": CONNECTED + """\
- {at: b, do: sendmsg, socket: to_a, descriptors: [to_a], expect: {error: EINVAL}}
- {at: b, do: sendmsg, socket: to_a, descriptors: [bound_socket], expect: {error: EINVAL}}
""",
    "a data-only socket carries no descriptors": """\
- {at: b, do: socketpair, as: [left, right]}
- {at: b, do: sendmsg, socket: left, descriptors: [a], expect: {error: EINVAL}}
- {at: b, do: sendmsg, socket: left, data: hi}
- {at: b, do: recvmsg, socket: right, expect: {data: hi}}
""",
    "the wrong kind of descriptor": """\
- {at: b, do: connect, address: bound_socket, expect: {error: EINVAL}}
- {at: b, do: accept, bound: a, expect: {error: EINVAL}}
- {at: b, do: sendmsg, socket: a, expect: {error: EINVAL}}
- {at: b, do: recvmsg, socket: INVALID, expect: {error: EINVAL}}
""",
    "what was closed is closed, and its peer learns of it": CONNECTED + """\
- {at: b, do: close, descriptor: to_a}
- {at: b, do: close, descriptor: to_a}
- {at: b, do: sendmsg, socket: to_a, expect: {error: EBADF}}
- {at: b, do: recvmsg, socket: to_a, expect: {error: EBADF}}
- {at: a, do: recvmsg, socket: to_b, expect: {error: EIO}}
- {at: a, do: sendmsg, socket: to_b, data: x, expect: {error: EIO}}
""",
    "a closed address connects to nobody": """\
- {at: b, do: close, descriptor: a}
- {at: b, do: connect, address: a, expect: {error: EBADF}}
- {at: b, do: close, descriptor: bound_socket}
- {at: b, do: accept, expect: {error: EBADF}}
""",
    "a BoundSocket of one's own is found by the address that travels": CONNECTED + """\
- {at: a, do: makeboundsock, as: [own, its_address]}
- {at: a, do: sendmsg, socket: to_b, descriptors: [its_address]}
- {at: b, do: recvmsg, socket: to_a, as: found}
- {at: b, do: connect, address: found, as: again}
- {at: a, do: accept, bound: own, as: second}
- {at: b, do: sendmsg, socket: again, data: hi}
- {at: a, do: recvmsg, socket: second, expect: {data: hi}}
""",
    "memory of a bad size": """\
- {at: a, do: mem_obj_create, size: 131072, as: memory}
- {at: a, do: mem_obj_create, size: 1, expect: {error: EINVAL}}
- {at: a, do: mem_obj_create, size: -65536, expect: {error: EINVAL}}
- {at: a, do: mem_obj_create, size: 0, expect: {error: ENOMEM}}
""",
    "who was killed leaves an end behind": CONNECTED + """\
- {kill: a}
- {at: b, do: sendmsg, socket: to_a, data: x, expect: {error: EIO}}
- {at: b, do: recvmsg, socket: to_a, expect: {error: EIO}}
- {at: b, do: connect, address: a, expect: {error: EIO}}
- {expect: {exit: {a: SIGKILL}}}
""",
}  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_holds_in_every_protocol(run: Run, protocol: str, scenario: str) -> None:
    outcome = run(f"{PROBES}scenario:\n{SCENARIOS[scenario]}", protocol=protocol)
    assert (outcome.status, outcome.reason) == (Status.PASSED, "all as expected")


# A last step whose expectation is wrong, and the difference that its reader is told.
WRONG: Final[dict[str, tuple[str, str]]] = {
    "success for an error": (
        "{at: a, do: recvmsg, socket: to_b, nonblock: true}",
        "a: recvmsg on to_b: expected success, got EAGAIN (Resource temporarily unavailable)",
    ),
    "an error for success": (
        "{at: b, do: sendmsg, socket: to_a, data: hi, expect: {error: EIO}}",
        "b: sendmsg 'hi' on to_a: expected EIO, got success",
    ),
    "another error": (
        "{at: a, do: mem_obj_create, size: 0, expect: {error: EIO}}",
        "a: mem_obj_create: expected EIO, got ENOMEM (no memory of 0 bytes)",
    ),
    "sent": (
        "{at: b, do: sendmsg, socket: to_a, data: hi, expect: {sent: 3}}",
        "b: sendmsg 'hi' on to_a: expected sent 3, got 2",
    ),
    "data": (
        "{at: b, do: sendmsg, socket: to_a, data: hi}\n- {at: a, do: recvmsg, socket: to_b, expect: {data: ho}}",
        "a: recvmsg on to_b: expected data 'ho' (2 bytes), got 'hi' (2 bytes)",
    ),
    "descriptors": (
        (
            "{at: b, do: sendmsg, socket: to_a, descriptors: [a]}\n"
            "- {at: a, do: recvmsg, socket: to_b, expect: {descriptors: [INVALID]}}"
        ),
        "a: recvmsg on to_b: expected descriptors [INVALID], got [SocketAddress]",
    ),
    "flags": (
        (
            "{at: b, do: sendmsg, socket: to_a, data: hi}\n"
            "- {at: a, do: recvmsg, socket: to_b, size: 1, expect: {flags: 0}}"
        ),
        "a: recvmsg on to_b: expected flags 0, got 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_expectation_fails_the_run_at_its_step_with_the_difference(write: Write, case: str) -> None:
    steps, reason = WRONG[case]
    file = write(f"{PROBES}scenario:\n{CONNECTED}- {steps}\n- {{at: b, do: socketpair}}\n")
    outcome = run_plan(only(plans_of(file, {"protocol": "socketpair"})))
    wrong = 12 + steps.count("\n")
    assert (outcome.status, outcome.reason) == (Status.FAILED, reason)
    assert outcome.place == f"{file}:{wrong}:3"
    differing = [event for event in outcome.events if isinstance(event, StepEnded) and event.difference]
    assert [event.difference for event in differing] == [reason.split(": ", 2)[2]]


def performed(outcome: Outcome) -> list[int]:
    """Return the numbers of the steps in the order in which they ended."""
    return [event.step for event in outcome.events if isinstance(event, StepEnded)]


def test_a_connect_may_wait_for_an_accept_that_stands_below_it(run: Run) -> None:
    # Under acknowledged a connect ends with its accept. b's own next step waits for it, a's first one does not.
    scenario = """\
- {at: b, do: connect, address: a, as: to_a}
- {at: b, do: sendmsg, socket: to_a, data: hi}
- {at: a, do: accept, as: to_b}
- {at: a, do: recvmsg, socket: to_b, expect: {data: hi}}
"""
    outcome = run(f"{PROBES}scenario:\n{scenario}", protocol="acknowledged")
    assert outcome.passed, outcome.reason
    order = performed(outcome)
    assert order.index(0) < order.index(1)
    assert order.index(2) < order.index(3)


def test_steps_of_different_workers_go_on_at_the_same_time(run: Run, protocol: str) -> None:
    # Each waits for what the other does later: in file order alone this would hang.
    scenario = (
        CONNECTED
        + """\
- {at: a, do: recvmsg, socket: to_b, expect: {data: ping}}
- {at: a, do: sendmsg, socket: to_b, data: pong}
- {at: b, do: sendmsg, socket: to_a, data: ping}
- {at: b, do: recvmsg, socket: to_a, expect: {data: pong}}
"""
    )
    assert run(f"{PROBES}scenario:\n{scenario}", protocol=protocol).passed


def test_a_kill_waits_for_all_above_and_all_below_wait_for_it(run: Run) -> None:
    steps = "".join(f"- {{at: {worker}, do: socketpair}}\n" for worker in "abbbb")
    steps += "- {kill: a}\n- {at: b, do: socketpair}\n- {expect: {exit: {a: SIGKILL}}}\n"
    outcome = run(f"{PROBES}scenario:\n{steps}", protocol="stream")
    assert outcome.passed, outcome.reason
    kinds = (StepEnded, WorkerKilled, WorkerExited)
    story = [type(event).__name__ for event in outcome.events if isinstance(event, kinds)]
    assert story == [*["StepEnded"] * 5, "WorkerKilled", "WorkerExited", "StepEnded", "WorkerExited"]


def test_a_deadline_names_its_step_and_what_else_was_going_on(write: Write) -> None:
    scenario = CONNECTED + """\
- {at: a, do: recvmsg, socket: to_b, within: 150ms}
- {at: b, do: recvmsg, socket: to_a}
"""  # fmt: skip
    file = write(f"{PROBES}scenario:\n{scenario}")
    outcome = run_plan(only(plans_of(file, {"protocol": "socketpair"})))
    assert (outcome.status, outcome.place) == (Status.TIMED_OUT, f"{file}:12:3")
    assert outcome.reason == "a: recvmsg on to_b took longer than 0.15 s; meanwhile b: recvmsg on to_a"


def test_the_runs_own_deadline_names_all_that_was_going_on(run: Run) -> None:
    scenario = f"{CONNECTED}- {{at: a, do: recvmsg, socket: to_b}}\n- {{at: b, do: recvmsg, socket: to_a}}\n"
    outcome = run(f"{PROBES}within: 3s\nscenario:\n{scenario}", protocol="socketpair")
    assert (outcome.status, outcome.place) == (Status.TIMED_OUT, None)
    assert re.fullmatch(
        r"the run took longer than 3 s; meanwhile (a: recvmsg on to_b, b: recvmsg on to_a|b: .*, a: .*)",
        outcome.reason,
    )


PROGRAM: Final = "import os, sys, signal, time\ndef main(worker):\n    {}\n"
ONE: Final = f"""{HEAD}defaults: {{protocol: socketpair, ready: {{within: 5s}}, stop: {{within: 5s}}}}
workers:
  own: {{program: "program:main"}}
"""


@pytest.mark.parametrize(
    ("body", "exit_status", "expected"),
    [
        ("return 3", 3, "3"),
        ("sys.exit(4)", 4, "4"),
        ("return 'words'", 1, "1"),
        ("return 257", 1, "1"),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, "SIGTERM"),
        ("os.abort()", -signal.SIGABRT, "SIGABRT"),
        ("raise RuntimeError", 1, "1"),
        ("os._exit(5)", 5, "5"),
    ],
)
@pytest.mark.parametrize("with_scenario", [False, True], ids=["no scenario", "a scenario"])
def test_an_exit_that_is_expected_passes_and_one_that_is_not_fails(
    write: Write, body: str, exit_status: int, expected: str, with_scenario: bool
) -> None:
    write(PROGRAM.format(body), "program.py")
    if with_scenario:
        outcome = run_plan(only(plans_of(write(f"{ONE}scenario: [{{expect: {{exit: {{own: {expected}}}}}}}]\n"))))
        assert (outcome.status, outcome.workers["own"].exit_status) == (Status.PASSED, exit_status)
    else:
        outcome = run_plan(only(plans_of(write(ONE))))
        assert (outcome.status, outcome.workers["own"].exit_status) == (Status.FAILED, exit_status)
        assert outcome.reason.startswith("own ")
        assert outcome.reason.endswith(", where the topology expects that it exited with 0")


def test_without_a_scenario_a_run_passes_when_all_have_exited_with_0(write: Write) -> None:
    write(PROGRAM.format("worker.report('total', 42)"), "program.py")
    outcome = run_plan(only(plans_of(write(ONE))))
    assert outcome.passed, outcome.reason
    assert outcome.workers["own"].reports == {"total": 42}


def test_an_exit_that_was_expected_otherwise_is_told(write: Write) -> None:
    write(PROGRAM.format("return 3"), "program.py")
    outcome = run_plan(only(plans_of(write(f"{ONE}scenario: [{{expect: {{exit: {{own: SIGKILL}}}}}}]\n"))))
    assert outcome.status is Status.FAILED
    assert outcome.reason == "own exited with 3, where the topology expects that it was ended by SIGKILL"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "ModuleNotFoundError: No module named 'program'"),
        ("import nowhere\n", "ModuleNotFoundError: No module named 'nowhere'"),
        ("main = 1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def other(worker): ...\n", "AttributeError: module 'program' has no attribute 'main'"),
        ("def main(: pass\n", "SyntaxError"),
    ],
    ids=["no such module", "an import that fails", "an error while importing", "no such function", "no Python"],
)
def test_a_program_that_cannot_be_started_fails_the_run_and_its_stderr_says_why(
    write: Write, source: str | None, words: str
) -> None:
    if source is not None:
        write(source, "program.py")
    plan = only(plans_of(write(ONE)))
    outcome = run_plan(plan)
    assert (outcome.status, outcome.reason) == (Status.FAILED, "own exited with 1 before it was ready")
    report = failure(plan, outcome)
    assert "\nown, stderr:\nTraceback (most recent call last):\n" in report
    assert words in report


def test_a_worker_that_crashes_during_a_step_fails_the_run_there_and_its_words_are_in_the_report(write: Write) -> None:
    write(PROGRAM.format("worker.next_step(); worker.log('last words'); os.abort()"), "program.py")
    file = write(f"{ONE}scenario:\n- {{at: own, do: socketpair}}\n")
    plan = only(plans_of(file))
    outcome = run_plan(plan)
    assert (outcome.status, outcome.place) == (Status.FAILED, f"{file}:7:3")
    assert outcome.reason == "own was ended by SIGABRT during socketpair"
    report = failure(plan, outcome)
    assert report.startswith(f"{file}:7:3: {outcome.reason}\n")
    assert "\nown, stderr:\nlast words\n" in report


def test_a_worker_that_ends_while_another_works_ends_the_run_at_once(write: Write) -> None:
    write(PROGRAM.format("worker.imc.imc_accept(worker.bound_socket); return 7"), "program.py")
    text = f"""{HEAD}defaults: {{protocol: socketpair}}
workers:
  own: {{program: "program:main", service_port: exported}}
  b: {{program: "sandbox.programs.probe:main"}}
routes: [{{grant: own, to: b}}]
scenario:
- {{at: b, do: connect, address: own, as: c}}
- {{at: b, do: recvmsg, socket: c, within: 30s, expect: {{error: EIO}}}}
- {{at: b, do: accept, bound: INVALID, expect: {{error: EINVAL}}}}
"""
    outcome = run_plan(only(plans_of(write(text))))
    assert outcome.status is Status.FAILED
    assert outcome.reason == "own exited with 7, where the topology expects that it exited with 0"
    assert outcome.seconds < 20


def test_a_worker_that_does_not_stop_is_killed_and_fails_the_run(write: Write) -> None:
    write(PROGRAM.format("signal.pause()"), "program.py")
    impatient = ONE.replace("stop: {within: 5s}", "stop: {within: 300ms}")
    outcome = run_plan(only(plans_of(write(f"{impatient}scenario: []\n"))))
    assert (outcome.status, outcome.reason) == (Status.FAILED, "own did not stop within 0.3 s and was killed")


def test_what_a_worker_answers_in_its_own_way_fails_the_run_and_harms_no_report(write: Write) -> None:
    lie = "worker.next_step(); worker.answer({'error': None, 'descriptors': 5}); worker.next_step()"
    write(PROGRAM.format(lie), "program.py")
    file = write(f"{ONE}scenario:\n- {{at: own, do: socketpair}}\n")
    plan = only(plans_of(file))
    outcome = run_plan(plan)
    told = "it answered socketpair with a result whose descriptors are no list"
    assert (outcome.status, outcome.workers["own"].offence) == (Status.FAILED, told)
    assert outcome.reason == f"own broke the rules of its control channel: {told}"
    assert failure(plan, outcome)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_worker_has_its_arguments_its_environment_and_nothing_else(
    write: Write, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setenv("IMCLAB_TEST_SECRET", "not for workers")
    write(PROGRAM.format("worker.report('told', [worker.args, dict(os.environ)])"), "program.py")
    args = 'args: {n: 5, text: "é", deep: [{x: ~}]}, env: {HOME: /nowhere}'
    text = f'{HEAD}workers: {{own: {{program: "program:main", protocol: {protocol}, {args}}}}}\n'
    outcome = run_plan(only(plans_of(write(text))))
    assert outcome.passed, outcome.reason
    told = outcome.workers["own"].reports["told"]
    assert told == [{"n": 5, "text": "é", "deep": [{"x": None}]}, {"HOME": "/nowhere"}]
