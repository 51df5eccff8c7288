"""Names of workers and replicas, and the numbers of descriptors that follow from a topology."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.plan import Grant, Own, WorkerPlan
from harness.planner import plans_of
from harness.planner.selectors import index_of, names_of, numbered
from sandbox.abi import FIRST_IMPORT
from tests.harness.topologies import HEAD, only, plans_or_problems

Write = Callable[..., Path]
Values = dict[str, object]


@pytest.mark.parametrize(
    ("value", "replaced"),
    [
        ("{{replica}}", 3),
        ("{{ replica }}", 3),
        ("r{{replica}}", "r3"),
        ("{{replica}}{{replica}}", "33"),
        ("{{other}} {{replica}}", "{{other}} 3"),
        ("replica", "replica"),
        (b"\xff{{replica}}", b"\xff3"),
        (b"{{replica}}", b"3"),
        ({"{{replica}}": ("{{replica}}", [1, None, "x{{replica}}"])}, {"{{replica}}": (3, [1, None, "x3"])}),
        (7, 7),
    ],
)
def test_a_replica_s_number_stands_for_its_name(value: object, replaced: object) -> None:
    assert numbered(value, {"replica": 3}) == replaced


def test_who_is_no_replica_has_no_number() -> None:
    with pytest.raises(ValueError, match="replica"):
        numbered(["{{replica}}"], {"replica": None})
    with pytest.raises(ValueError, match="round"):
        numbered(["{{round}}"], {"replica": 1})
    assert numbered("plain", {}) == "plain"


def test_names_and_numbers_of_replicas() -> None:
    assert names_of("r", 2) == ["r.0", "r.1"]
    assert names_of("r", 1) == ["r.0"]
    assert names_of("r", None) == ["r"]
    assert [index_of(name) for name in ("r", "r.0", "r.12")] == [None, 0, 12]


def table(worker: WorkerPlan) -> dict[int, str]:
    return {slot.number: slot.name for slot in worker.slots}


def test_imports_take_the_lowest_numbers_that_files_and_channels_leave(write: Write) -> None:
    text = f"""{HEAD}defaults: {{program: "m:f", protocol: socketpair, service_port: exported}}
workers:
  a: {{inherit: [{{descriptor: 7, file: /dev/null, mode: r}}, {{descriptor: 12, file: /dev/null, mode: rw, as: log}}]}}
  b: {{service_port: none}}
  c: {{replicas: 3}}
routes: [{{grant: c.*, to: a}}]
channels: [{{between: [a.9, b.6], as: side}}]
"""
    workers = only(plans_of(write(text))).workers
    standard = {0: "stdin", 1: "stdout", 2: "stderr", 3: "bound_socket", 4: "address", 5: "control_channel"}
    assert table(workers["a"]) == {
        **standard,
        6: "c.0",
        7: "descriptor_7",
        8: "c.1",
        9: "side",
        10: "c.2",
        11: "unused",
        12: "log",
    }
    assert table(workers["b"]) == {**standard, 3: "unused", 4: "unused", 6: "side"}
    assert all(slot.origin is Own.NOTHING for slot in workers["b"].slots if slot.name == "unused")


@given(
    files=st.sets(st.integers(6, 30), max_size=6),
    channels=st.sets(st.integers(6, 30), max_size=6),
    granted=st.integers(0, 12),
    late=st.integers(0, 3),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_table_has_no_hole_and_a_place_for_everything(
    write: Write, files: set[int], channels: set[int], granted: int, late: int
) -> None:
    topology = {
        "schema": 1,
        "name": "t",
        "defaults": {"program": "m:f", "protocol": "socketpair", "service_port": "exported"},
        "workers": {
            "a": {"inherit": [{"descriptor": n, "file": "/dev/null", "mode": "r"} for n in sorted(files)]},
            "b": {"replicas": max(granted, 1)},
        },
        "routes": [
            *({"grant": f"b.{n}", "to": "a"} for n in range(granted)),
            *({"grant": f"b.0.x{n}", "to": "a"} for n in range(late)),
        ],
        "channels": [{"between": [f"a.{n}", f"b.0.{n}"]} for n in sorted(channels - files)],
    }
    worker = only(plans_of(write(json.dumps(topology)))).workers["a"]
    assert [slot.number for slot in worker.slots] == list(range(len(worker.slots)))
    numbers = {slot.number for slot in worker.slots if slot.number >= FIRST_IMPORT and slot.name != "unused"}
    imports = [slot.number for slot in worker.slots if isinstance(slot.origin, Grant)]
    assert files | channels <= numbers
    assert len(imports) == granted
    # The lowest that are free, in the order of the routes.
    free = [n for n in range(FIRST_IMPORT, 100) if n not in files | channels]
    assert imports == free[:granted]
    assert len(worker.late) == late


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 1100)
    | st.sampled_from(["a", "b.0", "r.*", "a.x", "{{replica}}", "", "."]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["descriptor", "file", "mode"]), inner),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["command", "grants", "facets", "inherit", "replicas"]), VALUES, max_size=3),
    st.dictionaries(st.sampled_from(["grant", "to", "as", "pair", "facets"]), VALUES),
    st.dictionaries(st.sampled_from(["between", "kind", "as"]), VALUES),
    st.dictionaries(st.sampled_from(["at", "do", "address", "name"]), VALUES),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_values_are_the_answer_is_a_plan_or_mistakes(
    write: Write, worker: Values, route: Values, channel: Values, step: Values
) -> None:
    topology = {
        "schema": 1,
        "name": "t",
        "workers": {
            "a": {"program": "m:f", "protocol": "stream", "service_port": "exported", **worker},
            "b": {"program": "m:f", "protocol": "stream", "replicas": 2},
        },
        "routes": [route],
        "channels": [channel],
        "scenario": [{"do": "export", **step}],
    }
    plans, problems = plans_or_problems(write(json.dumps(topology)))
    assert len(plans) == 1 or problems
