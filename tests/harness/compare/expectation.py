"""The table that is expected, and how another differs from it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from harness.compare.table import Cell, Table, shown
from sandbox.protocols import PROTOCOLS

NUMBER: Final = re.compile(r"\d+")
FILE: Final = Path(__file__).with_name("expected.yaml")


@dataclass(frozen=True)
class Expected:
    """A cell: the answer, the settings that it depends on, and, where it counts, the least and the most."""

    answer: str
    depends_on: Mapping[str, int] = field(default_factory=dict)
    between: tuple[int, int] | None = None

    @property
    def shown(self) -> str:
        """The cell as README has it."""
        return shown(self.answer, self.depends_on)

    def holds(self, cell: Cell) -> bool:
        """Say whether this is such a cell: with the same settings, the same words, and a number that may be."""
        if cell.answer.depends_on.keys() != self.depends_on.keys():
            return False
        if self.between is None:
            return cell.answer.text == self.answer
        least, most = self.between
        if cell.answer.number is None or not least <= cell.answer.number <= most:
            return False
        return NUMBER.sub("#", cell.answer.text) == NUMBER.sub("#", self.answer)

    def __str__(self) -> str:
        return self.shown if self.between is None else f"{self.between[0]} to {self.between[1]}, as in {self.shown!r}"


Expectation = Mapping[str, Mapping[str, Expected]]


def expectation() -> Expectation:
    """Return the cells of the file, by property and protocol."""
    rows = YAML(typ="safe", pure=True).load(FILE.read_text(encoding="utf-8"))
    return {name: {protocol: _expected(cell) for protocol, cell in cells.items()} for name, cells in rows.items()}


def _expected(cell: Any) -> Expected:
    if isinstance(cell, str):
        return Expected(cell)
    return Expected(cell["answer"], cell["depends_on"], tuple(cell["between"]) if "between" in cell else None)


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
