"""The lines as a table for readers."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from statistics import median
from typing import Final

from harness.bench.lines import Compared, Curve, Line, Measured, Told

HEAD: Final = ("figure", "peer", "ours", "peer's", "ratio", "reach", "")
# From here on three digits are too few for a whole number.
WHOLE_FROM: Final = 1000


def table(machine: Mapping[str, str], lines: Iterable[Line]) -> str:
    """Return what was measured on what, a row a line."""
    rows = [HEAD, *map(row, lines)]
    # Whatever ends a row may be as long as it likes.
    columns = zip_longest(*(cells[:-1] for cells in rows), fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    on = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n".join([on, "", *("  ".join(map(padded, cells, [*widths, 0])).rstrip() for cells in rows)])


def padded(cell: str, width: int) -> str:
    """Return the cell, as wide as its column."""
    return cell.ljust(width)


def row(line: Line) -> tuple[str, ...]:
    """Return the cells of a line."""
    match line:
        case Told():
            return (line.what, line.peer, line.text)
        case Curve():
            sizes = (f"{size} in {quantity(rounds, 's')}" for size, rounds in line.seconds.items())
            return (line.what, "", ", ".join(sizes))
        case Measured():
            amount = quantity(line.ours, line.unit)
            return (line.what, "", amount, "", "", f"{line.reach} {line.unit}", verdict(line))
        case Compared():
            amounts = (quantity(line.ours, line.unit), quantity(line.theirs, line.unit))
            return (line.what, line.peer, *amounts, f"{line.ratio:.3g}", str(line.reach), verdict(line))


def quantity(values: Sequence[float], unit: str) -> str:
    """Return the median of `values` with its unit, to three digits."""
    value = median(values)
    return f"{value:.3g} {unit}" if value < WHOLE_FROM else f"{value:.0f} {unit}"


def verdict(line: Compared | Measured) -> str:
    """Return in words whether it is reached."""
    return "reached" if line.is_reached else "not reached"
