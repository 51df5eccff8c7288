"""What a topology may say, part by part; and whatever else a file says is told as a mistake, never as an exception."""

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.planner import plans_of
from harness.topology.steps import OPERATIONS
from harness.topology.values import (
    ERRNO_NAMES,
    SIGNALS,
    Mistake,
    parse_arguments,
    parse_data,
    parse_duration,
    parse_exit,
    parse_name,
    parse_program,
)
from sandbox.abi import USER_BYTES_MAX
from sandbox.control import STEP, encode
from tests.harness.topologies import mistakes_in, plans_or_problems, written


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5.0), ("250ms", 0.25), ("1.5m", 90.0), ("0.5s", 0.5)])
def test_a_duration_is_a_number_and_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "5h", "5 s", " 5s", "5s ", "-5s", ".5s", "5.s", "1e3s", "0ms", "0.0m", "٣s", "5S"]
)
def test_nothing_else_is_a_duration(text: str) -> None:
    with pytest.raises(Mistake):
        parse_duration(text)


@given(st.integers(1, 10_080), st.sampled_from([("ms", 0.001), ("s", 1.0), ("m", 60.0)]))
def test_units_are_worth_what_they_are(number: int, unit: tuple[str, float]) -> None:
    assert parse_duration(f"{number}{unit[0]}") == pytest.approx(number * unit[1])


@pytest.mark.parametrize("name", ["a", "A9", "to_bob", "fe-1", "n" * 64])
def test_a_name_is_letters_digits_underscore_and_hyphen(name: str) -> None:
    assert parse_name(name) == name


@pytest.mark.parametrize("name", ["", "9", "_a", "-a", "a.b", "a b", "a\n", "é", "n" * 65, "*"])
def test_nothing_else_is_a_name(name: str) -> None:
    with pytest.raises(Mistake):
        parse_name(name)


@pytest.mark.parametrize("program", ["m:f", "sandbox.programs.probe:main", "_m._n:_f", "m1.n2:f3"])
def test_a_program_is_a_module_and_a_function(program: str) -> None:
    assert parse_program(program) == program


@pytest.mark.parametrize(
    "program", ["", "m", ":f", "m:", "m:f:g", "m:f.g", "a..b:f", ".m:f", "1m:f", "m/n:f", "m:f\n", "m :f"]
)
def test_nothing_else_is_a_program(program: str) -> None:
    with pytest.raises(Mistake):
        parse_program(program)


def test_data_is_the_bytes_of_text_or_binary_or_the_size_of_what_to_generate() -> None:
    assert parse_data("é") == "é".encode()
    assert parse_data(b"\xff") == b"\xff"
    assert parse_data({"size": 131_073}) == 131_073
    assert parse_data("x" * 65536) == b"x" * 65536


def test_data_of_an_environment_variable_that_is_no_utf_8_is_its_bytes() -> None:
    assert parse_data(b"\xff".decode("utf-8", "surrogateescape")) == b"\xff"


@pytest.mark.parametrize("status", [0, 1, 255])
def test_an_exit_status_is_a_number(status: int) -> None:
    assert parse_exit(status) == status


@pytest.mark.parametrize("name", SIGNALS)
def test_an_exit_by_a_signal_is_minus_its_number(name: str) -> None:
    assert parse_exit(name) == -SIGNALS[name]


@pytest.mark.parametrize("status", [-1, 256, True, 1.0, None, (), b"\x01"])
def test_nothing_else_is_an_exit_status(status: object) -> None:
    with pytest.raises(Mistake):
        parse_exit(status)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def frozen(value: Any) -> Any:
    """Return a value as the reader has it: tuples for lists."""
    match value:
        case dict():
            return {key: frozen(item) for key, item in value.items()}
        case list():
            return tuple(map(frozen, value))
        case _:
            return value


@given(JSON)
def test_arguments_are_any_json(value: Any) -> None:
    assert parse_arguments(frozen(value)) == frozen(value) or value != value  # noqa: PLR0124 - NaN is not itself


# A topology that says everything that can be said.
WHOLE: Final[dict[str, Any]] = {
    "schema": 1,
    "name": "whole",
    "vars": {"greeting": "hi", "size": 65536},
    "matrix": {"protocol": ["stream", "socketpair"], "n": [1, 2]},
    "defaults": {"protocol": "{{protocol}}", "ready": {"within": "5s"}, "stop": {"within": "2s"}},
    "kinds": {"probe": {"program": "sandbox.programs.probe:main", "args": {"x": [1, {"y": None}]}}},
    "workers": {
        "a": {"kind": "probe", "service_port": "exported", "env": {"HOME": "/"}},
        "b": {"kind": "probe", "service_port": "unexported", "args": {"x": "{{n}}"}},
    },
    "routes": [{"grant": "a", "to": "b"}, {"grant": "a", "to": "b", "as": "friend"}],
    "scenario": [
        {"at": "b", "do": "connect", "address": "a", "as": "c"},
        {"at": "a", "do": "accept", "bound": "bound_socket", "as": "d", "within": "1s", "expect": {}},
        {"at": "b", "do": "makeboundsock", "as": ["e", "f"], "when": {"protocol": ["stream"], "n": 1}},
        {"at": "b", "do": "socketpair", "as": ["g"]},
        {"at": "b", "do": "mem_obj_create", "size": "{{size}}", "as": "h"},
        {"at": "b", "do": "sendmsg", "socket": "c", "data": "{{greeting}}", "descriptors": ["g", "h", "INVALID"]},
        {"at": "a", "do": "recvmsg", "socket": "d", "size": 2, "max_descriptors": 2, "as": ["i", "j"],
         "expect": {"data": {"size": 2}, "descriptors": ["DataOnlySocket", "SharedMemory"], "flags": 2}},
        {"at": "a", "do": "sendmsg", "socket": "d", "nonblock": True, "expect": {"sent": 0}},
        {"at": "a", "do": "close", "descriptor": "d", "expect": {"error": "EBADF"}},
        {"kill": "a", "within": "3s"},
        {"expect": {"exit": {"a": "SIGKILL", "b": 3}}},
    ],
    "within": "30s",
}  # fmt: skip


def test_a_topology_may_say_everything_at_once(tmp_path: Path) -> None:
    plans = plans_of(written(tmp_path, json.dumps(WHOLE)))
    assert [plan.cell for plan in plans] == [
        "whole[stream-1]",
        "whole[stream-2]",
        "whole[socketpair-1]",
        "whole[socketpair-2]",
    ]


def places(value: Any) -> list[tuple[Any, ...]]:
    """Return the path of every value within `value`."""
    members: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    return [(), *((key, *path) for key, member in members for path in places(member))]


def replaced(value: Any, path: tuple[Any, ...], new: Callable[[Any], Any]) -> Any:
    """Return a copy of `value` with what lies at `path` replaced by what `new` makes of it."""
    if not path:
        return new(value)
    copied = copy.copy(value)
    copied[path[0]] = replaced(value[path[0]], path[1:], new)
    return copied


WORDS: Final = (
    *WHOLE, *OPERATIONS, *ERRNO_NAMES[:3], *SIGNALS, "grant", "to", "as", "at", "do", "kill", "expect", "exit", "when",
    "within", "program", "kind", "args", "env", "a", "b", "c", "address", "{{protocol}}", "{{x}}", "${HOME}", "5s", "",
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=5)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner),
    max_leaves=8,
)


@st.composite
def nearly_right(draw: st.DrawFn) -> Any:
    """Return the whole topology with a few values replaced, added or left out."""
    topology: Any = WHOLE
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(topology)))
        new, key = draw(ANYTHING), draw(st.sampled_from(WORDS))
        change = draw(st.sampled_from(["replace", "add", "leave out"]))
        topology = replaced(topology, path, partial(changed, change, key, new))
    return topology


def changed(change: str, key: str, new: Any, old: Any) -> Any:
    """Return `old` with something new in it, or something less, where it is a map; else something new."""
    if change == "replace" or not isinstance(old, dict):
        return new
    return old | {key: new} if change == "add" else dict(list(old.items())[1:])


# What Python or pydantic would say, and nobody who writes YAML should read.
FOREIGN: Final = ("Input should", "Value error", "None", "True", "False", "(", "NoneType", "pydantic", "Error")


def check_plans_or_mistakes(file: Path) -> None:
    """Check that `file` is plans that can be carried out, or mistakes that can be read; and the same a second time."""
    lines = file.read_text(encoding="utf-8").count("\n") + 1
    plans, problems = plans_or_problems(file)
    assert bool(plans) != bool(problems)
    assert all(1 <= problem.line <= lines and problem.column >= 1 for problem in problems)
    for plan in plans:
        json.dumps([[worker.args, worker.env] for worker in plan.workers.values()])
        assert all(len(encode(STEP, step.body)) <= USER_BYTES_MAX for step in plan.steps())
    # As text, because NaN is not itself.
    assert repr(plans_or_problems(file)) == repr((plans, problems))


@given(nearly_right() | ANYTHING)
@example({**WHOLE, "workers": {"a": {"args": {"x": float("nan")}, "program": "m:f", "protocol": "stream"}}})
def test_whatever_is_said_is_plans_or_a_topology_error(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "replace").decode()
    check_plans_or_mistakes(written(tmp_path_factory.getbasetemp(), text, "said.imclab.yaml"))


@given(st.sampled_from(places(WHOLE)), LEAVES)
def test_no_mistake_is_told_in_python(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[Any, ...], value: Any
) -> None:
    text = json.dumps(replaced(WHOLE, path, lambda _: "what" if isinstance(value, str) else value))
    for mistake in mistakes_in(written(tmp_path_factory.getbasetemp(), text, "python.imclab.yaml")):
        assert not any(word in mistake for word in FOREIGN), mistake
