"""The table that is expected, and how another differs from it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from harness.compare.table import Cell, Table
from sandbox.protocols import PROTOCOLS

FILE: Final = Path(__file__).with_name("expected.yaml")


@dataclass(frozen=True)
class Expected:
    """A cell: the whole answer, or what it is like and within which bounds it may count."""

    shown: str
    between: tuple[int, int] | None = None

    def holds(self, cell: Cell) -> bool:
        """Say whether this is such a cell. Where the answer depends on a setting, it has to say so, and to count."""
        if self.between is None:
            return cell.shown == self.shown
        least, most = self.between
        number = cell.answer.number
        return number is not None and least <= number <= most and bool(cell.answer.depends_on)

    def __str__(self) -> str:
        return self.shown if self.between is None else f"{self.between[0]} to {self.between[1]}, as in {self.shown!r}"


Expectation = Mapping[str, Mapping[str, Expected]]


def expectation() -> Expectation:
    """Return the cells of the file, by property and protocol."""
    rows = YAML(typ="safe", pure=True).load(FILE.read_text(encoding="utf-8"))
    return {name: {protocol: _expected(cell) for protocol, cell in cells.items()} for name, cells in rows.items()}


def _expected(cell: Any) -> Expected:
    return Expected(cell) if isinstance(cell, str) else Expected(cell["like"], tuple(cell["between"]))


def differences(expected: Expectation, table: Table) -> list[str]:
    """Return a line for each cell that is not as expected, for each row that is missing, and for each that is new."""
    return list(_differences(expected, table))


def _differences(expected: Expectation, table: Table) -> Iterator[str]:
    rows = {row.property.name: row for row in table.rows}
    yield from (f"{name}: expected, and not measured" for name in expected if name not in rows)
    for name, row in rows.items():
        if name not in expected:
            yield f"{name}: measured, and not expected"
            continue
        for protocol in PROTOCOLS:
            wanted, cell = expected[name][protocol], row.cells[protocol]
            if not wanted.holds(cell):
                yield f"{name}, {protocol}: expected {wanted}; measured {cell.shown!r} ({cell.command})"
