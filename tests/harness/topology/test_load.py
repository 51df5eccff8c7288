"""YAML to plain values and their places, whatever the file holds."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.errors import Problem, TopologyError
from harness.topology.load import Document, load, scalar
from tests.harness.topologies import written


def document(folder: Path, text: str) -> Document:
    return load(written(folder, text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("0o17", 15),
        ("0x1F", 31),
        ("-1.5", -1.5),
        ("[&a x, &a y, *a]", ("x", "y", "y")),
        ("true", True),
        ("~", None),
        ("yes", "yes"),
        ("'5'", "5"),
        ("2024-01-31", "2024-01-31"),
        ("=", "="),
        ("<<", "<<"),
        ("12:30", "12:30"),
        ("!!binary aGk=", b"hi"),
        ("!!str 5", "5"),
        ("[a, {b: c}]", ("a", {"b": "c"})),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_values_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    loaded = document(tmp_path, f"x: {text}\n").values["x"]
    assert (loaded, type(loaded)) == (value, type(value))


def test_every_key_and_value_has_its_place(tmp_path: Path) -> None:
    loaded = document(tmp_path, "a:\n  - b\n  - {c: d, e: }\n'f': g\n")
    assert loaded.places == {
        (): (1, 1),
        ("a",): (2, 3),
        ("a", 0): (2, 5),
        ("a", 1): (3, 5),
        ("a", 1, "c"): (3, 9),
        ("a", 1, "e"): (3, 12),  # where a value was left out, its key
        ("f",): (4, 6),
    }
    assert loaded.keys == {("a",): (1, 1), ("a", 1, "c"): (3, 6), ("a", 1, "e"): (3, 12), ("f",): (4, 1)}


def test_an_alias_is_the_value_of_its_anchor_and_each_use_has_it(tmp_path: Path) -> None:
    loaded = document(tmp_path, "x: &x {y: 1}\nz: [*x, *x]\n")
    assert loaded.values == {"x": {"y": 1}, "z": ({"y": 1}, {"y": 1})}
    assert loaded.places[("z", 1, "y")] == (1, 11)


def test_an_anchor_may_be_given_anew(tmp_path: Path) -> None:
    document = load(written(tmp_path, "a: [&x 1, *x, &x 2, *x]\n"))
    assert (document.values, document.problems) == ({"a": (1, 1, 2, 2)}, ())


def test_of_a_duplicate_key_the_first_value_counts(tmp_path: Path) -> None:
    loaded = document(tmp_path, "x: 1\nx: 2\n")
    assert loaded.values == {"x": 1}
    assert len(loaded.problems) == 1


def test_a_problem_without_a_place_of_its_own_is_at_the_nearest_above(tmp_path: Path) -> None:
    loaded = document(tmp_path, "a:\n  b: c\n")
    assert str(loaded.problem(("a", "b", "d", 3), "wrong")).endswith(":2:6: wrong")
    assert str(loaded.problem(("a", "b"), "wrong", at_key=True)).endswith(":2:3: wrong")
    assert str(loaded.problem(("z",), "wrong", at_key=True)).endswith(":1:1: wrong")


def test_a_file_may_have_as_many_values_as_are_allowed_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.topology.load.VALUES_MAX", 5)
    # The map and the list are values too.
    assert document(tmp_path, "x: [1, 2, 3]\n").values["x"] == (1, 2, 3)
    with pytest.raises(TopologyError, match="1:14: more than 5 values"):
        document(tmp_path, "x: [1, 2, 3, 4, 5]\n")


def test_a_file_that_was_changed_is_read_anew(tmp_path: Path) -> None:
    assert document(tmp_path, "x: 1\n").values == {"x": 1}
    assert document(tmp_path, "x: 2\n").values == {"x": 2}


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "t.imclab.yaml"
    file.write_bytes(b"\xef\xbb\xbfx: 1\n")
    assert load(file).values == {"x": 1}


def loads_or_is_told(file: Path) -> Problem | None:
    """Return the first problem of what cannot be loaded."""
    try:
        load(file)
    except TopologyError as error:
        return error.problems[0]
    return None


@given(st.binary())
@example(b"? ")
@example(b"- &a [*a]")
@example(b"x: !!int ''")
@example(b"x: !!bool y")
@example(b"!!null x: y")
@example(b"x: !!float _")
@example(b"%YAML 3.0\n--- {}")
@example(b"%YAML 1.1\n--- {a: 1e3, b: &a 1, c: &a 2}")
@example(b"!!map x")
@example("\u2028: \x85".encode())
def test_whatever_bytes_a_file_has_they_are_a_document_or_a_topology_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.imclab.yaml"
    file.write_bytes(content)
    problem = loads_or_is_told(file)
    assert problem is None or problem.text


# Text in which YAML's own characters are frequent.
YAMLISH = st.lists(st.sampled_from([*"ab:-?[]{},&*!|>'\"%@`#~=<0.9 \n\t", "\n  ", "&a ", "*a", "!!", "{{a}}", "${A}"]))


@given(YAMLISH.map("".join))
def test_whatever_text_a_file_has_it_is_a_document_or_a_topology_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = written(tmp_path_factory.getbasetemp(), text, "text.imclab.yaml")
    problem = loads_or_is_told(file)
    assert problem is None or 1 <= problem.line <= text.count("\n") + 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("5.0", 5.0),
        ("true", True),
        ("'5'", "5"),
        ("", ""),
        ("null", "null"),
        ("[1]", "[1]"),
        ("a: b", "a: b"),
        ("*x", "*x"),
        ("[&a x, &a y]", "[&a x, &a y]"),
        ("!!binary aGk=", "!!binary aGk="),
        ("!!int x", "!!int x"),
        ("!!int ''", "!!int ''"),
        ("2024-01-31", "2024-01-31"),
        ('"\\ud800"', '"\\ud800"'),
        ("9" * 5000, "9" * 5000),
        ("0x" + "f" * 5000, "0x" + "f" * 5000),
    ],
)
def test_a_value_on_the_command_line_is_a_scalar_or_the_text_itself(text: str, value: object) -> None:
    assert (scalar(text), type(scalar(text))) == (value, type(value))


@given(st.text())
def test_whatever_stands_on_the_command_line_has_a_value(text: str) -> None:
    assert isinstance(scalar(text), (str, int, float))
