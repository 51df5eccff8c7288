"""Taking turns: in each round, one of ours and one of each peer's, over and over, so that all see the same machine."""

from collections.abc import Awaitable, Callable, Mapping
from statistics import median

Attempt = Callable[[], float | Awaitable[float]]


async def taking_turns(attempts: Mapping[str, Attempt], rounds: int, turns: int) -> dict[str, list[float]]:
    """Return of each attempt the median of its turns, a round each.

    An attempt returns what it took, in whatever unit; one turn is one of each, in the order given. A peer may keep the
    event loop waiting: nothing of ours goes on meanwhile.
    """
    taken: dict[str, list[float]] = {name: [] for name in attempts}
    for _ in range(rounds):
        of_round: dict[str, list[float]] = {name: [] for name in attempts}
        for _ in range(turns):
            for name, attempt in attempts.items():
                taking = attempt()
                of_round[name].append(taking if isinstance(taking, float) else await taking)
        for name, values in of_round.items():
            taken[name].append(median(values))
    return taken
