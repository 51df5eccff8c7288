"""Ratios, and what counts as reached."""

import pytest

from harness.bench.lines import Bound, Compared, Measured, Reach


@pytest.mark.parametrize(
    ("bound", "below", "at", "above"),
    [(Bound.AT_MOST, True, True, False), (Bound.BELOW, True, False, False), (Bound.AT_LEAST, False, True, True)],
)
def test_a_number_is_reached_from_its_own_side(bound: Bound, below: bool, at: bool, above: bool) -> None:
    reach = Reach(bound, 0.75)
    assert [reach.is_met(value) for value in (0.7, 0.75, 0.8)] == [below, at, above]


def compared(ours: list[float], theirs: list[float], reach: Reach) -> Compared:
    return Compared("f", "what", "peer", "ms", ours, theirs, reach)


def test_the_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    """A machine that was ten times slower in two rounds, for both, changes nothing; the ratio of medians would."""
    line = compared([1, 1, 10, 1, 20], [2, 4, 20, 2, 10], Reach(Bound.AT_MOST, 0.5))
    assert line.ratio == 0.5
    assert line.is_reached
    assert not compared([3, 3, 3], [4, 4, 4], Reach(Bound.AT_MOST, 0.74)).is_reached


def test_rounds_without_a_peer_s_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="2 rounds of ours, 1 of peer"):
        compared([1, 2], [1], Reach(Bound.AT_MOST, 1))


def test_a_figure_without_a_peer_reaches_by_its_median() -> None:
    reach = Reach(Bound.AT_MOST, 2.5)
    assert Measured("f", "what", "MiB", [9, 2.5, 1], reach).is_reached
    assert not Measured("f", "what", "MiB", [9, 2.6, 1], reach).is_reached
