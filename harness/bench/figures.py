"""Which figures there are."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from harness.bench import starts
from harness.bench.lines import Line
from harness.errors import UsageError

FIGURES: Final[Mapping[str, Callable[[], Awaitable[list[Line]]]]] = {
    starts.FIGURE: starts.measure,
}


def chosen(only: Iterable[str]) -> list[str]:
    """Return the names of the figures that are asked for, all where none is. Raises UsageError for one that is not."""
    only = list(only)
    for name in only:
        if name not in FIGURES:
            raise UsageError(f"--only {name}: there are {', '.join(FIGURES)}")
    return [name for name in FIGURES if not only or name in only]


async def measured(names: Iterable[str]) -> list[Line]:
    """Measure these figures, one after the other."""
    return [line for name in names for line in await FIGURES[name]()]
