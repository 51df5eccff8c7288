"""What came of a figure: numbers, a round each, and what they are to reach. Pure.

A figure that has a peer is told as a ratio, ours to the peer's, and a round's ratio is that of numbers that were taken
in the same moments; so what else the machine does meanwhile falls out of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import median


class Bound(Enum):
    """On which side of a number one wants to be."""

    AT_MOST = "≤"
    BELOW = "<"
    AT_LEAST = "≥"


@dataclass(frozen=True, slots=True)
class Reach:
    """What is to be reached."""

    bound: Bound
    number: float

    def is_met(self, value: float) -> bool:
        """Say whether `value` reaches it."""
        match self.bound:
            case Bound.AT_MOST:
                return value <= self.number
            case Bound.BELOW:
                return value < self.number
            case Bound.AT_LEAST:
                return value >= self.number

    def __str__(self) -> str:
        return f"{self.bound.value} {self.number:g}"


@dataclass(frozen=True, slots=True)
class Compared:
    """Ours beside a peer's: as many rounds of both, all in `unit`. `reach` is what the ratio is to be."""

    figure: str
    what: str
    peer: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float]
    reach: Reach

    def __post_init__(self) -> None:
        if len(self.ours) != len(self.theirs):
            raise ValueError(f"{self.what}: {len(self.ours)} rounds of ours, {len(self.theirs)} of {self.peer}")

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return median(ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True))

    @property
    def is_reached(self) -> bool:
        """Whether the ratio is what it is to be."""
        return self.reach.is_met(self.ratio)


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure without a peer: its rounds, in `unit`. `reach` is what their median is to be."""

    figure: str
    what: str
    unit: str
    ours: Sequence[float]
    reach: Reach

    @property
    def is_reached(self) -> bool:
        """Whether the median is what it is to be."""
        return self.reach.is_met(median(self.ours))


@dataclass(frozen=True, slots=True)
class Told:
    """What was not measured here, and why, or what is known of it from elsewhere."""

    figure: str
    what: str
    peer: str
    text: str


@dataclass(frozen=True, slots=True)
class Curve:
    """What sizes took: the seconds of each round, by size."""

    figure: str
    what: str
    seconds: Mapping[int, Sequence[float]]


Line = Compared | Measured | Told | Curve
