"""The picture: dots and lines where the numbers say."""

import xml.etree.ElementTree as ET
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bench.curve import HEIGHT, TICKS_MAX, WIDTH, svg, ticks
from harness.bench.lines import Curve

CURVE: Final = Curve("growth", "workers", {10: [1.0, 2.0, 9.0], 100: [20.0, 30.0, 40.0]})

PICTURE: Final = ET.fromstring(svg(CURVE, "a < b & c"))  # noqa: S314 - our own


def elements(kind: str) -> list[ET.Element]:
    """Return the picture's elements of this class."""
    return [element for element in PICTURE.iter() if element.get("class") == kind]


def test_every_round_is_a_dot_and_more_is_further_up_or_to_the_right() -> None:
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in elements("round")]
    small, large = dots[:3], dots[3:]
    assert len(large) == 3
    assert {x for x, _ in small} < {x for x, _ in dots}
    assert max(x for x, _ in small) < min(x for x, _ in large)
    assert [y for _, y in dots] == sorted((y for _, y in dots), reverse=True)
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in dots)


def test_the_line_goes_through_the_medians() -> None:
    (line,) = elements("median")
    dots = elements("round")
    assert line.attrib["points"] == " ".join(f"{dots[n].attrib['cx']},{dots[n].attrib['cy']}" for n in (1, 4))


def test_linear_growth_begins_at_nothing_and_passes_through_the_smallest_size_s_median() -> None:
    (linear,) = elements("linear")
    x0, y0, x1, y1 = (float(linear.attrib[name]) for name in ("x1", "y1", "x2", "y2"))
    median_of_smallest = elements("round")[1]
    x, y = (float(median_of_smallest.attrib[name]) for name in ("cx", "cy"))
    assert (y - y0) / (x - x0) == pytest.approx((y1 - y0) / (x1 - x0), rel=0.02)


def test_the_title_is_said_as_it_is() -> None:
    (title,) = elements("title")
    assert title.text == "a < b & c"


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_ticks_are_few_equally_far_apart_and_go_almost_to_the_end(end: float) -> None:
    found = ticks(end)
    assert found[0] == 0
    assert 3 <= len(found) <= TICKS_MAX + 1
    assert found[-1] <= end * (1 + 1e-9) < found[-1] + 1.001 * found[1]
    assert f"{found[1]:e}"[0] in "125"
