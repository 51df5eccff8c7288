"""Variables, the environment and the matrix: which cells a file has, and what stands in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import TopologyError
from harness.planner import only_plan_of, plans_of
from harness.topology import Cell, read
from tests.harness.topologies import HEAD, PAIR, only, written

Write = Callable[..., Path]


def cells(file: Path, **chosen: Any) -> list[Cell]:
    found, problems = read(file, chosen)
    assert problems == []
    return found


def arguments(file: Path, **chosen: Any) -> Any:
    """Return the arguments of the worker a in the one cell that there is."""
    (cell,) = cells(file, **chosen)
    return cell.topology.workers["a"].args


def with_args(args: str, sections: str = "") -> str:
    return f'{HEAD}{sections}workers: {{a: {{program: "m:f", protocol: stream, args: {args}}}}}\n'


@pytest.mark.parametrize("value", ["5", "1.5", "true", "text", "'5'", "''"])
def test_a_value_that_is_nothing_but_a_variable_is_what_the_variable_is(write: Write, value: str) -> None:
    literal, variable = arguments(
        write(with_args(f"{{x: {value}, y: '{{{{v}}}}'}}", f"vars: {{v: {value}}}\n"))
    ).values()
    assert (variable, type(variable)) == (literal, type(literal))


@pytest.mark.parametrize(
    ("value", "text"), [("5", "5"), ("1.5", "1.5"), ("true", "true"), ("text", "text"), ("''", "")]
)
def test_a_variable_within_a_text_is_text(write: Write, value: str, text: str) -> None:
    args = with_args("{x: '<{{v}}>', y: '{{ v }}{{v}}'}", f"vars: {{v: {value}}}\n")
    assert arguments(write(args)) == {"x": f"<{text}>", "y": text * 2}


def test_variables_are_expanded_at_any_depth_and_in_no_key(write: Write) -> None:
    args = with_args("{'{{v}}': [1, {x: ['{{v}}']}]}", "vars: {v: 5}\n")
    assert arguments(write(args)) == {"{{v}}": (1, {"x": (5,)})}


def test_a_variable_may_use_those_above_it(write: Write) -> None:
    args = with_args("{x: '{{c}}'}", "vars: {a: 1, b: '{{a}}', c: '{{a}}-{{b}}'}\n")
    assert arguments(write(args)) == {"x": "1-1"}
    assert arguments(write(args), a=2) == {"x": "2-2"}
    assert arguments(write(args), b=3) == {"x": "1-3"}


def test_what_was_inserted_is_not_taken_for_a_reference(write: Write) -> None:
    args = with_args("{x: '{{v}} ${HOME:-}', y: '{{v}}'}", "vars: {v: nothing}\n")
    chosen = "{{v}} ${HOME}"
    assert arguments(write(args), v=chosen)["y"] == chosen
    assert arguments(write(args), v=chosen)["x"].startswith(chosen)


def test_what_was_inserted_does_not_change_the_structure(write: Write) -> None:
    args = with_args("{x: '{{v}}'}", "vars: {v: ''}\n")
    assert arguments(write(args), v="], y: 1, [") == {"x": "], y: 1, ["}


def test_an_environment_variable_has_its_value_or_its_default(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    args = with_args('{x: "${IMCLAB_TEST_SET:-a}", y: "${IMCLAB_TEST_UNSET:-b}", z: "${IMCLAB_TEST_UNSET:-}"}')
    monkeypatch.setenv("IMCLAB_TEST_SET", "5")
    monkeypatch.delenv("IMCLAB_TEST_UNSET", raising=False)
    # What comes from the environment is text.
    assert arguments(write(args)) == {"x": "5", "y": "b", "z": ""}


def test_what_looks_like_a_reference_and_is_none_stays(write: Write) -> None:
    text = "{{}} {{1}} {v} $HOME ${} {{a.b}}"
    assert arguments(write(with_args(f"{{x: '{text}'}}"))) == {"x": text}


def test_each_point_of_the_matrix_is_a_cell_and_the_last_axis_changes_first(write: Write) -> None:
    file = write(with_args("{}", "matrix: {protocol: [stream, socketpair], n: [1, 2.5, true]}\n"))
    assert [cell.id for cell in cells(file)] == [
        *("t[stream-1]", "t[stream-2.5]", "t[stream-true]"),
        *("t[socketpair-1]", "t[socketpair-2.5]", "t[socketpair-true]"),
    ]


def test_a_file_without_a_matrix_is_one_cell_with_the_files_name(write: Write) -> None:
    assert [cell.id for cell in cells(write(with_args("{}")))] == ["t"]


def test_the_values_of_an_axis_may_be_variables_and_come_from_the_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMCLAB_TEST_SET", "there")
    file = write(with_args("{x: '{{n}}'}", "vars: {one: 1}\nmatrix: {n: ['{{one}}', '${IMCLAB_TEST_SET}']}\n"))
    assert [cell.topology.workers["a"].args["x"] for cell in cells(file)] == [1, "there"]


@pytest.mark.parametrize("chosen", [1, "1", 1.0])
def test_an_axis_is_chosen_by_what_its_value_looks_like(write: Write, chosen: object) -> None:
    file = write(with_args("{x: '{{n}}'}", "matrix: {n: [1, 2], m: [a, b]}\n"))
    if chosen == "1" or isinstance(chosen, int):
        assert [cell.id for cell in cells(file, n=chosen)] == ["t[1-a]", "t[1-b]"]
    else:
        assert str(read(file, {"n": chosen})[1][0]).endswith("1.0 is not on the axis 'n'; there are 1, 2")


def test_the_axes_choose_the_one_cell_to_run(write: Write) -> None:
    file = write(with_args("{}", "matrix: {n: [1, 2], m: [a, b]}\n"))
    assert only_plan_of(file, {"n": 2, "m": "b"}).cell == "t[2-b]"
    with pytest.raises(TopologyError, match="1:1: a matrix of 2 cells; choose one by m"):
        only_plan_of(file, {"n": 2})
    with pytest.raises(TopologyError, match="1:1: a matrix of 4 cells; choose one by n, m"):
        only_plan_of(file, {})


MERGING = f"""{HEAD}
defaults:
  program: "default:main"
  protocol: stream
  ready: {{within: 1s}}
  args: {{x: {{a: 1, b: 1}}, y: [1, 2], z: 1}}
  env: {{E: "1"}}
kinds:
  k:
    program: "kind:main"
    stop: {{within: 3s}}
    args: {{x: {{b: 2, c: 2}}, y: [3], w: 2}}
    env: {{E: "2", F: "2"}}
workers:
  plain: {{}}
  kind: {{kind: k}}
  own:
    kind: k
    program: "own:main"
    protocol: datagram
    args: {{x: {{c: 3}}, y: [], z: {{}}}}
    env: {{F: "3"}}
    ready: {{within: 4s}}
"""


def test_a_worker_is_merged_over_its_kind_over_the_defaults(write: Write) -> None:
    workers = only(plans_of(write(MERGING))).workers
    assert [(worker.program, worker.protocol) for worker in workers.values()] == [
        ("default:main", "stream"),
        ("kind:main", "stream"),
        ("own:main", "datagram"),
    ]
    assert [(worker.ready_within, worker.stop_within) for worker in workers.values()] == [(1, 2), (1, 3), (4, 3)]


def test_maps_are_merged_and_lists_replaced(write: Write) -> None:
    workers = only(plans_of(write(MERGING))).workers
    assert [worker.args for worker in workers.values()] == [
        {"x": {"a": 1, "b": 1}, "y": (1, 2), "z": 1},
        {"x": {"a": 1, "b": 2, "c": 2}, "y": (3,), "z": 1, "w": 2},
        {"x": {"a": 1, "b": 2, "c": 3}, "y": (), "z": {}, "w": 2},
    ]
    assert [worker.env for worker in workers.values()] == [{"E": "1"}, {"E": "2", "F": "2"}, {"E": "2", "F": "3"}]


NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)
VALUES = st.integers(-(2**40), 2**40) | st.booleans() | st.text(st.characters(codec="ascii", categories=["L", "N"]))


@given(
    st.dictionaries(
        NAMES, st.lists(VALUES, min_size=1, max_size=3, unique_by=lambda value: str(value).lower()), max_size=3
    )
)
def test_every_combination_is_one_cell_with_an_id_of_its_own(
    tmp_path_factory: pytest.TempPathFactory, axes: dict[str, list[Any]]
) -> None:
    lines = "".join(
        f"  {name}: {str(values).replace('True', 'true').replace('False', 'false')}\n" for name, values in axes.items()
    )
    text = with_args("{}", "matrix: {}\n" if not axes else f"matrix:\n{lines}")
    found = cells(written(tmp_path_factory.getbasetemp(), text, "combined.imclab.yaml"))
    wanted = 1
    for values in axes.values():
        wanted *= len(values)
    assert len(found) == wanted
    assert len({tuple(cell.variables.items()) for cell in found}) == wanted


@pytest.mark.parametrize(
    ("matrix", "ids"),
    [
        ("{a: [x-y, z], b: [1]}", ["t[x-y-1]", "t[z-1]"]),
        ("{a: [x-y, x], b: [z, y-z]}", ["t[a=x-y,b=z]", "t[a=x-y,b=y-z]", "t[a=x,b=z]", "t[a=x,b=y-z]"]),
    ],
)
def test_no_two_cells_have_the_same_id(matrix: str, ids: list[str], tmp_path: Path) -> None:
    cells, problems = read(written(tmp_path, f"{PAIR}matrix: {matrix}\n"))
    assert (problems, [cell.id for cell in cells]) == ([], ids)
