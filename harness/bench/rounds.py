"""Taking turns: in each round, one of ours and one of each peer's, over and over, so that all see the same machine."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from statistics import median

Attempt = Callable[[], float | Awaitable[float]]


async def taking_turns(attempts: Mapping[str, Attempt], rounds: int, turns: int) -> dict[str, list[float]]:
    """Return of each attempt the median of its turns, a round each.

    An attempt returns what it took, in whatever unit; one turn is one of each, in the order given. A peer may keep the
    event loop waiting: nothing of ours goes on meanwhile.
    """
    taken: dict[str, list[list[float]]] = {name: [] for name in attempts}
    for _ in range(rounds):
        for of_attempt in taken.values():
            of_attempt.append([])
        for _ in range(turns):
            for name, attempt in attempts.items():
                taking = attempt()
                taken[name][-1].append(taking if isinstance(taking, float) else await taking)
    return {name: medians(of_attempt) for name, of_attempt in taken.items()}


def medians(rounds: Iterable[Iterable[float]]) -> list[float]:
    """Return each round's median."""
    return [median(turns) for turns in rounds]
