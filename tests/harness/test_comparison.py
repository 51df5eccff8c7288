"""Whether a value is what was expected: equality as JSON has it, and comparisons written as text."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.comparison import Comparison, difference_of, mistake_in

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-100, 100)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("kl"), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "holds", "does_not"),
    [
        (">=0.95", [0.95, 1, 7.5], [0.94, -1, True, "1", None, [1]]),
        ("<=3", [3, -8.5], [3.5, False]),
        ("> 3", [4, 3.01], [3, "4"]),
        ("<-1.5e1", [-15.5], [-15, 0]),
        ("!=3", [4, "3", None, True], [3, 3.0]),
        ("==3", [3, 3.0], ["3", True]),
        ("==>text", [">text"], ["text"]),
        ("==true", [True], ["true", 1]),
        ("!=no", ["yes", 0], ["no"]),
        ("==", [""], [" ", None]),
    ],
)
def test_a_comparison_holds_or_does_not(text: str, holds: list[Any], does_not: list[Any]) -> None:
    assert mistake_in(text) is None
    comparison = Comparison.of(text)
    assert comparison is not None
    assert [value for value in holds if not comparison.holds(value)] == []
    assert [value for value in does_not if comparison.holds(value)] == []
    assert [value for value in holds if difference_of(text, value)] == []


@pytest.mark.parametrize("text", [">=many", "<", ">= 1 2", "<nan", ">1e", "<<3"])
def test_an_order_needs_a_number(text: str) -> None:
    assert mistake_in(text) == (
        f"{text!r} compares with no number; write one, as in >=0.95, or =={text} for text that begins so"
    )


@pytest.mark.parametrize("text", ["", "3", "=3", "text > 3", " >=3", "!3"])
def test_other_text_is_no_comparison(text: str) -> None:
    assert Comparison.of(text) is None
    assert difference_of(text, text) is None


@given(VALUES)
def test_a_value_is_like_itself_and_like_what_json_makes_of_it(value: Any) -> None:
    assert difference_of(value, json.loads(json.dumps(value))) is None


@given(VALUES, VALUES)
def test_what_is_not_the_same_differs(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    # 1 is 1.0 here, though JSON writes them differently, and 0.0 is -0.0.
    assert same <= (difference_of(one, other) is None)
    if difference_of(one, other) is None:
        assert one == other


@pytest.mark.parametrize(
    ("expected", "value", "told"),
    [
        (42, 41, "expected 42, got 41"),
        (1, True, "expected 1, got true"),
        ("a", "b\x1b[m", r'expected "a", got "b\u001b[m"'),
        (">=0.95", 0.5, "expected >=0.95, got 0.5"),
        ({"a": {"b": (1, 2)}}, {"a": {"b": [1, 3]}}, "in a.b.1: expected 2, got 3"),
        ((1, 2), [1], "in 1: expected 2, got nothing"),
        ((1,), [1, 2], "in 1: expected nothing, got 2"),
        ({"a": 1}, {"a": 1, "b": 2}, "in b: expected nothing, got 2"),
        ({"a": 1}, {}, "in a: expected 1, got nothing"),
        ((), {}, "expected [], got {}"),
        (None, 0, "expected null, got 0"),
        ("x", "y" * 1000, f'expected "x", got "{"y" * 199}…'),
    ],
)
def test_a_difference_is_told_where_it_is(expected: Any, value: Any, told: str) -> None:
    assert difference_of(expected, value) == told


def test_a_value_of_any_depth_can_be_told() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert difference_of(5, deep) == "expected 5, got something nested too deep to be shown"
