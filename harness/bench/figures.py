"""Which figures there are, and the measuring of all that are asked for."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from harness.bench import connects, growth, idle, messages, starts, suite
from harness.bench.lines import Line, Told
from harness.bench.runs import NotMeasured
from harness.errors import MissingLayerError, UsageError

FIGURES: Final[Mapping[str, Callable[[], Awaitable[list[Line]]]]] = {
    starts.FIGURE: starts.measure,
    connects.FIGURE: connects.measure,
    messages.FIGURE: messages.measure,
    growth.FIGURE: growth.measure,
    idle.MEMORY: idle.measure_memory,
    idle.SUPERVISOR: idle.measure_supervisor,
    suite.FIGURE: suite.measure,
}


def chosen(only: Iterable[str], *, with_suite: bool) -> list[str]:
    """Return the names of the figures that are asked for; all where none is, the suite only where it is.

    Raises UsageError for a name that no figure has.
    """
    only = list(only)
    for name in only:
        if name not in FIGURES:
            raise UsageError(f"--only {name}: there are {', '.join(FIGURES)}")
    wanted = set(only or FIGURES.keys() - {suite.FIGURE}) | ({suite.FIGURE} if with_suite else set())
    return [name for name in FIGURES if name in wanted]


async def measured(names: Iterable[str], tell: Callable[[str], object]) -> tuple[list[Line], bool]:
    """Measure these one after the other, and `tell` which it is; return the lines, and whether none was lacking."""
    names, lines, complete = list(names), list[Line](), True
    for name in names:
        tell(name)
        try:
            lines += await FIGURES[name]()
        except (NotMeasured, MissingLayerError) as error:
            lines.append(Told(name, name, "", f"not measured: {error}"))
            complete = False
    return [*lines, *([] if suite.FIGURE in names else [suite.NOT_ASKED_FOR])], complete
