"""From a topology to descriptor tables and stages; nothing is started."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.plan import ActPlan, Grant, ParallelPlan, Plan, Stage, Together, WorkerPlan
from harness.planner import plans_of
from tests.harness.topologies import HEAD, PAIR, mistakes_in, only

Write = Callable[..., Path]

THREE = f"""{HEAD}defaults: {{program: "m:f", protocol: stream}}
workers:
  a: {{service_port: exported}}
  b: {{service_port: exported}}
  c: {{service_port: unexported}}
  d: {{}}
"""


def imports(worker: WorkerPlan) -> dict[int, tuple[str, str]]:
    """Return what a worker is granted at start: by number its name there and whose it is."""
    grants = {slot.number: slot.origin for slot in worker.slots if isinstance(slot.origin, Grant)}
    return {number: (grant.name, grant.exporter) for number, grant in grants.items()}


def shape(plan: Plan) -> list[object]:
    """Return the stages: of those at workers the steps' numbers by worker, of a signal its worker, else the kind."""
    return [_shape(stage) for stage in plan.stages or ()]


def _shape(stage: Stage) -> object:
    match stage:
        case Together(steps):
            return {worker: [step.number for step in own] for worker, own in steps.items()}
        case ActPlan(worker=worker):
            return worker
        case ParallelPlan(branches):
            return [[_shape(inner) for inner in branch] for branch in branches]
        case _:
            return type(stage).__name__


def test_imports_are_numbered_from_6_in_the_order_of_the_routes(write: Write) -> None:
    routes = "[{grant: b, to: d}, {grant: a, to: c}, {grant: a, to: d, as: friend}, {grant: a, to: a}]"
    workers = only(plans_of(write(f"{THREE}routes: {routes}\n"))).workers
    assert imports(workers["d"]) == {6: ("b", "b"), 7: ("friend", "a")}
    assert imports(workers["c"]) == imports(workers["a"]) == {6: ("a", "a")}
    assert imports(workers["b"]) == {}


def test_what_is_not_granted_is_not_there(write: Write) -> None:
    assert {worker.grants for worker in only(plans_of(write(THREE))).workers.values()} == {()}


def test_two_workers_may_be_granted_to_each_other(write: Write) -> None:
    workers = only(plans_of(write(f"{THREE}routes: [{{grant: a, to: b}}, {{grant: b, to: a}}]\n"))).workers
    assert (imports(workers["a"]), imports(workers["b"])) == ({6: ("b", "b")}, {6: ("a", "a")})


def test_steps_between_two_without_at_are_together_each_workers_own_in_order(write: Write) -> None:
    text = f"""{THREE}scenario:
  - {{at: a, do: socketpair, as: x}}
  - {{at: b, do: socketpair}}
  - {{at: a, do: close, descriptor: x}}
  - {{kill: c}}
  - {{at: a, do: socketpair}}
  - {{expect: {{exit: {{c: SIGKILL}}}}}}
  - {{at: b, do: socketpair}}
  - {{kill: a}}
  - {{kill: b}}
"""
    plan = only(plans_of(write(text)))
    assert shape(plan) == [{"a": [0, 2], "b": [1]}, "c", {"a": [4]}, {"b": [6]}, "a", "b"]
    assert plan.exits == {"c": -9}
    assert [step.number for step in plan.steps()] == [0, 1, 2, 4, 6]


def test_a_run_without_a_scenario_is_another_than_one_with_an_empty_one(write: Write) -> None:
    assert only(plans_of(write(THREE))).stages is None
    assert only(plans_of(write(f"{THREE}scenario: []\n"))).stages == ()


@pytest.mark.parametrize(
    ("when", "cells"),
    [
        ("{p: x}", ["t[x-1]", "t[x-2]"]),
        ("{p: [x, y]}", ["t[x-1]", "t[x-2]", "t[y-1]", "t[y-2]"]),
        ("{p: y, n: 2}", ["t[y-2]"]),
        ("{p: [y], n: [1]}", ["t[y-1]"]),
        ("{v: 5}", ["t[x-1]", "t[x-2]", "t[y-1]", "t[y-2]"]),
        ("{v: '5'}", []),
        ("{p: []}", []),
        ("{}", ["t[x-1]", "t[x-2]", "t[y-1]", "t[y-2]"]),
    ],
)
def test_a_step_exists_in_the_cells_that_match_all_of_when(write: Write, when: str, cells: list[str]) -> None:
    matrix = "vars: {v: 5}\nmatrix: {p: [x, y], n: [1, 2]}\n"
    file = write(f"{THREE}{matrix}scenario: [{{kill: a, when: {when}}}]\n")
    assert [plan.cell for plan in plans_of(file) if plan.stages] == cells


def test_what_holds_in_one_cell_alone_is_checked_in_that_cell_alone(write: Write) -> None:
    text = f"""{PAIR}matrix: {{x: [1, 2]}}
scenario:
  - {{kill: a, when: {{x: 1}}}}
  - {{at: a, do: socketpair, when: {{x: 2}}}}
"""
    assert [shape(plan) for plan in plans_of(write(text))] == [["a"], [{"a": [1]}]]
    assert mistakes_in(write(text.replace("x: 2}}", "x: 1}}"))) == ["9:10: a was killed in line 8"]


def test_a_step_knows_its_place_its_deadline_and_what_the_worker_is_told(write: Write) -> None:
    file = write(
        f"{PAIR}scenario:\n  - {{at: a, do: accept, as: c}}\n"
        "  - {at: a, do: sendmsg, socket: c, data: hi, descriptors: [address], within: 250ms}\n"
    )
    _, step = only(plans_of(file)).steps()
    assert (step.place, step.worker, step.within) == (f"{file}:8:5", "a", 0.25)
    assert step.text == "sendmsg 'hi' on c + address"
    assert step.body == {
        "do": "sendmsg",
        "socket": "c",
        "data": {"base64": "aGk="},
        "descriptors": ("address",),
        "nonblock": False,
        "as": (),
    }


def test_what_is_not_said_is_the_default(write: Write) -> None:
    text = f"{PAIR}scenario:\n  - {{at: a, do: accept, as: c}}\n  - {{at: a, do: recvmsg, socket: c}}\n"
    plan = only(plans_of(write(text)))
    accept, receive = plan.steps()
    assert accept.body["bound"] == "bound_socket"
    assert (receive.body["size"], receive.body["max_descriptors"], receive.body["nonblock"]) == (131_072, 8, False)
    assert (plan.within, receive.within) == (60, 5)
    assert [(worker.ready_within, worker.stop_within) for worker in plan.workers.values()] == [(5, 2), (5, 2)]


def test_a_plan_knows_what_was_chosen_and_where_programs_may_lie(write: Write) -> None:
    file = write(f"{PAIR}vars: {{v: 1, w: 2}}\nmatrix: {{p: [x, y]}}\n")
    plan = only(plans_of(file, {"p": "y", "v": 3}))
    assert (plan.axes, plan.replaced) == ({"p": "y"}, {"v": 3})
    assert (plan.file, plan.folder) == (str(file), file.parent.resolve())


def test_the_plans_of_a_file_are_the_same_every_time(write: Write) -> None:
    file = write(
        f"{THREE}matrix: {{p: [x, y]}}\nroutes: [{{grant: a, to: d}}]\nscenario: [{{at: a, do: socketpair}}]\n"
    )
    assert plans_of(file) == plans_of(file)
