"""The growth of a topology as an SVG: each round a dot, their medians a line, and what linear growth would be.

All that the picture needs is lines, dots and words; it is drawn here rather than by a library ten times our size.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final
from xml.sax.saxutils import escape

from harness.bench.lines import Curve

WIDTH: Final = 720
HEIGHT: Final = 440
LEFT: Final = 70
RIGHT: Final = 30
TOP: Final = 50
BOTTOM: Final = 60
TICKS_MAX: Final = 6
# Room above the highest dot.
HEADROOM: Final = 1.08

STYLE: Final = """\
  text { font: 13px sans-serif; fill: #222 }
  .title { font-size: 15px }
  .grid { stroke: #ddd }
  .axis { stroke: #222; fill: none }
  .linear { stroke: #999; stroke-dasharray: 6 4; fill: none }
  .median { stroke: #1f5fa8; stroke-width: 2; fill: none }
  .round { fill: #1f5fa8; fill-opacity: 0.45 }"""


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a number is: from 0 to `end`, on pixels from `first` to `last`."""

    end: float
    first: float
    last: float

    def __call__(self, number: float) -> str:
        """Return the pixel, as SVG has it."""
        return f"{self.first + (self.last - self.first) * number / self.end:.1f}"


def svg(curve: Curve, title: str) -> str:
    """Return the picture."""
    most = max(curve.seconds)
    slowest = max(max(rounds) for rounds in curve.seconds.values())
    linear = median(curve.seconds[min(curve.seconds)]) / min(curve.seconds) * most
    x = Scale(most * HEADROOM, LEFT, WIDTH - RIGHT)
    y = Scale(max(slowest, linear) * HEADROOM, HEIGHT - BOTTOM, TOP)
    medians = " ".join(f"{x(size)},{y(median(curve.seconds[size]))}" for size in sorted(curve.seconds))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}">',
            f"<style>\n{STYLE}\n</style>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            word(WIDTH / 2, TOP / 2, title, anchor="middle", kind="title"),
            *grid(x, y),
            f'<line class="linear" x1="{x(0)}" y1="{y(0)}" x2="{x(most)}" y2="{y(linear)}"/>',
            f'<polyline class="median" points="{medians}"/>',
            *(
                f'<circle class="round" cx="{x(size)}" cy="{y(seconds)}" r="4"/>'
                for size, rounds in curve.seconds.items()
                for seconds in rounds
            ),
            word(LEFT + 12, TOP + 10, "dots: rounds; line: medians; dashed: linear growth from the smallest"),
            "</svg>",
            "",
        ]
    )


def grid(x: Scale, y: Scale) -> Iterator[str]:
    """Yield the axes, their ticks and their names."""
    for tick in ticks(y.end):
        yield f'<line class="grid" x1="{LEFT}" y1="{y(tick)}" x2="{WIDTH - RIGHT}" y2="{y(tick)}"/>'
        yield word(LEFT - 8, float(y(tick)) + 4, f"{tick:g}", anchor="end")
    for tick in ticks(x.end):
        yield f'<line class="axis" x1="{x(tick)}" y1="{HEIGHT - BOTTOM}" x2="{x(tick)}" y2="{HEIGHT - BOTTOM + 5}"/>'
        yield word(float(x(tick)), HEIGHT - BOTTOM + 20, f"{tick:g}", anchor="middle")
    yield f'<polyline class="axis" points="{LEFT},{TOP} {LEFT},{HEIGHT - BOTTOM} {WIDTH - RIGHT},{HEIGHT - BOTTOM}"/>'
    yield word(WIDTH / 2, HEIGHT - 15, "workers", anchor="middle")
    yield word(15, TOP - 10, "seconds")


def word(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "label") -> str:
    """Return a text at a place."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def ticks(end: float) -> list[float]:
    """Return round numbers from 0 to at most `end`, at equal distances, of which there are at most TICKS_MAX + 1."""
    power = 10.0 ** math.floor(math.log10(end / TICKS_MAX))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if end / step <= TICKS_MAX)
    return [number * step for number in range(int(end / step) + 1)]
