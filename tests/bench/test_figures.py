"""Which figures are measured, and what is told where one cannot be."""

import asyncio
from collections.abc import Callable

import pytest

from harness.bench import figures
from harness.bench.lines import Bound, Line, Measured, Reach, Told
from harness.bench.runs import NotMeasured
from harness.bench.suite import NOT_ASKED_FOR
from harness.errors import MissingLayerError, UsageError

ALL = ["start", "connect", "messages", "growth", "memory", "idle"]
LINE = Measured("b", "what", "s", [1], Reach(Bound.AT_MOST, 2))


def test_without_a_choice_all_are_measured_but_the_suite() -> None:
    assert figures.chosen([], with_suite=False) == ALL
    assert figures.chosen([], with_suite=True) == [*ALL, "suite"]


def test_what_is_chosen_is_measured_in_the_benchmark_s_own_order() -> None:
    assert figures.chosen(["memory", "start"], with_suite=False) == ["start", "memory"]
    assert figures.chosen(["memory"], with_suite=True) == ["memory", "suite"]
    assert figures.chosen(["suite"], with_suite=False) == ["suite"]


def test_a_name_that_no_figure_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=f"--only strat: there are {', '.join([*ALL, 'suite'])}"):
        figures.chosen(["start", "strat"], with_suite=False)


@pytest.mark.parametrize("error", [NotMeasured("a reason"), MissingLayerError("a reason")], ids=["limit", "layer"])
def test_what_cannot_be_measured_here_is_told_and_the_others_are_measured(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(figures, "FIGURES", {"a": measuring(error), "b": measuring(LINE)})
    lines, complete = asyncio.run(figures.measured(["a", "b"], told.append))
    assert lines == [Told("a", "a", "", "not measured: a reason"), LINE, NOT_ASKED_FOR]
    assert not complete
    assert told == ["a", "b"]


def test_a_suite_that_was_measured_is_not_told_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "FIGURES", {"suite": measuring(LINE)})
    assert asyncio.run(figures.measured(["suite"], print)) == ([LINE], True)


def measuring(result: Line | Exception) -> Callable[[], object]:
    """Return what measures this, or cannot."""

    async def measure() -> list[Line]:
        if isinstance(result, Exception):
            raise result
        return [result]

    return measure
