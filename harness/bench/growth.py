"""What a topology takes as it grows: workers up, each connected to one hub, one round trip each, down."""

import time
from typing import Final

from harness.bench.lines import Bound, Compared, Curve, Line, Reach
from harness.bench.rounds import Attempt, taking_turns
from harness.bench.runs import run_of

FIGURE: Final = "growth"
SIZES: Final = (100, 300, 1000)
ROUNDS: Final = 5


async def measure() -> list[Line]:
    """Run all sizes in turn. Raises NotMeasured."""

    def of_size(size: int) -> Attempt:
        return lambda: seconds_of(size)

    smallest, *_, largest = SIZES
    # Memory that was never touched takes its time, whoever asks for it.
    await seconds_of(largest)
    taken = await taking_turns({str(size): of_size(size) for size in SIZES}, ROUNDS, turns=1)
    what, peer = f"{largest} workers and a hub, up and down", f"{smallest} workers"
    reach = Reach(Bound.AT_MOST, 11)
    return [
        Compared(FIGURE, what, peer, "s", taken[str(largest)], taken[str(smallest)], reach),
        Curve(FIGURE, f"{', '.join(map(str, SIZES))} workers", {size: taken[str(size)] for size in SIZES}),
    ]


async def seconds_of(clients: int) -> float:
    """Return how long it takes from the file of the topology to its outcome. Raises NotMeasured."""
    began = time.perf_counter()
    await run_of("hub", clients=clients)
    return time.perf_counter() - began
