"""Whether a value is what was expected: the same, or what a comparison such as ">=0.95" asks for. Pure.

A comparison is text that begins with >=, <=, ==, !=, > or <. Text that has to begin that way is written "==>text".
"""

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

COMPARISON: Final = re.compile(r"(>=|<=|==|!=|>|<)\s*(.*)", re.DOTALL)
NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a value is compared with, and how."""

    how: str
    operand: int | float | str | bool

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Return the comparison that `text` is, None where it is plain text."""
        match = COMPARISON.fullmatch(text)
        return None if match is None else cls(match[1], _operand(match[2]))

    def holds(self, value: object) -> bool:
        """Say whether it is true of `value`. Only numbers have an order."""
        if self.how in ORDER:
            return _is_number(value) and ORDER[self.how](value, self.operand)
        return _is_same(self.operand, value) == (self.how == "==")


def mistake_in(text: str) -> str | None:
    """Return what is wrong with `text` as a comparison; nothing where it is a sound one, or none."""
    comparison = Comparison.of(text)
    if comparison is None or comparison.how not in ORDER or _is_number(comparison.operand):
        return None
    return f"{text!r} compares with no number; write one, as in >=0.95, or =={text} for text that begins so"


def difference_of(expected: object, value: object) -> str | None:
    """Return how `value` differs from what was expected, None where it does not."""
    where = _first_difference(expected, value, ())
    if where is None:
        return None
    path, wanted, got = where
    inside = f"in {'.'.join(map(str, path))}: " if path else ""
    return f"{inside}expected {shown(wanted)}, got {shown(got)}"


@dataclass(frozen=True, slots=True)
class Nothing:
    """What is not there."""


NOTHING: Final = Nothing()

Difference = tuple[tuple[str | int, ...], object, object]


def _first_difference(expected: object, value: object, path: tuple[str | int, ...]) -> Difference | None:
    pairs: list[tuple[str | int, object, object]]
    match expected, value:
        case str(text), _ if comparison := Comparison.of(text):
            return None if comparison.holds(value) else (path, expected, value)
        case dict(wanted), dict(got):
            keys = [*wanted, *(key for key in got if key not in wanted)]
            pairs = [(key, wanted.get(key, NOTHING), got.get(key, NOTHING)) for key in keys]
        case (tuple() | list()) as wanted, list(got):
            several = range(max(len(wanted), len(got)))
            pairs = [(index, _item(wanted, index), _item(got, index)) for index in several]
        case _:
            return None if _is_same(expected, value) else (path, expected, value)
    found = (_first_difference(wanted, got, (*path, key)) for key, wanted, got in pairs)
    return next(filter(None, found), None)


def _item(items: Any, index: int) -> object:
    return items[index] if index < len(items) else NOTHING


def _is_same(expected: object, value: object) -> bool:
    """Say whether both are the same scalar: 1 is 1.0, and neither is true."""
    if _is_number(expected) and _is_number(value):
        return expected == value
    return type(expected) is type(value) and expected == value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _operand(text: str) -> int | float | str | bool:
    if not NUMBER.fullmatch(text):
        return {"true": True, "false": False}.get(text, text)
    return int(text) if text.lstrip("+-").isdecimal() else float(text)


def shown(value: object) -> str:
    """Return a value for a reader, not too much of it.

    As JSON, which escapes what a terminal would obey; a comparison as it is.
    """
    match value:
        case Nothing():
            return "nothing"
        case str(text) if Comparison.of(text) and text.isprintable():
            text_shown = text
        case _:
            try:
                text_shown = json.dumps(value)
            except RecursionError:
                text_shown = "something nested too deep to be shown"
    return text_shown if len(text_shown) <= SHOWN else f"{text_shown[:SHOWN]}…"
