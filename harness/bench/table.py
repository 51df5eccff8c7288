"""The lines as a table for readers."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from harness.bench.lines import Compared, Line, Measured, Told

HEAD: Final = ("figure", "peer", "ours", "peer's", "ratio", "reach", "")
# From here on three digits are too few for a whole number.
WHOLE_FROM: Final = 1000


def table(lines: Iterable[Line]) -> str:
    """Return the table, a row a line."""
    rows = [HEAD, *map(row, lines)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEAD))]
    return "\n".join("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in rows)


def row(line: Line) -> tuple[str, ...]:
    """Return the cells of a line."""
    match line:
        case Told(what=what, peer=peer, text=text):
            return (what, peer, text, "", "", "", "")
        case Measured(what=what, ours=ours, unit=unit, reach=reach):
            return (what, "", quantity(ours, unit), "", "", f"{reach} {unit}", verdict(line))
        case Compared(what=what, peer=peer, unit=unit, ours=ours, theirs=theirs, reach=reach):
            cells = (quantity(ours, unit), quantity(theirs, unit), f"{line.ratio:.3g}", f"{reach}")
            return (what, peer, *cells, verdict(line))


def quantity(values: Sequence[float], unit: str) -> str:
    """Return the median of `values` with its unit, to three digits."""
    value = median(values)
    return f"{value:.3g} {unit}" if value < WHOLE_FROM else f"{value:.0f} {unit}"


def verdict(line: Compared | Measured) -> str:
    """Return whether it is reached, in a word."""
    return "reached" if line.is_reached else "not reached"
