"""What messages between two strictly confined workers cost, on one core; `topologies/messages.py` measures it.

The peers' messages go between the same two processes, so what shows is what the library does, not what confinement does
to a system call.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from harness.bench.lines import Bound, Compared, Line, Reach
from harness.bench.rounds import medians
from harness.bench.runs import on_one_core, run_of

FIGURE: Final = "messages"
RAW: Final = "raw sendmsg, recvmsg"
ROUNDS: Final = 7
TURNS: Final = 5

# By contest and ways, as `topologies/messages.py` calls them.
TIMES: Final = (
    ("round trip", "round trip, 64 bytes", "ours", "plain", RAW, Reach(Bound.AT_MOST, 1.2)),
    ("round trip", "round trip, 64 bytes", "ours", "piped", "multiprocessing.Pipe", Reach(Bound.BELOW, 1.0)),
)
RATES: Final = (
    ("64 bytes", "one way, 64 bytes", "ours", "plain", RAW, Reach(Bound.AT_LEAST, 0.75)),
    ("4096 bytes", "one way, 4 KiB", "ours", "plain", RAW, Reach(Bound.AT_LEAST, 0.8)),
    ("65536 bytes", "one way, 64 KiB", "ours", "plain", RAW, Reach(Bound.AT_LEAST, 0.95)),
    ("descriptor", "message with an address", "our_address", "handle", "send_handle", Reach(Bound.AT_LEAST, 1.25)),
    ("descriptor", "message with an address", "our_address", "fds", "socket.send_fds", Reach(Bound.AT_LEAST, 0.7)),
)


async def measure() -> list[Line]:
    """Have two workers take turns, and compare what they report. Raises NotMeasured."""
    with on_one_core():
        outcome = await run_of("messages", rounds=ROUNDS, turns=TURNS)
    return lines_of(outcome.workers["client"].reports)


def lines_of(reports: Mapping[str, Any]) -> list[Line]:
    """Return what the client's reports come to: by contest and way, the seconds of each turn of each round."""
    return [
        *(
            Compared(FIGURE, what, peer, "µs", micros(reports[contest][ours]), micros(reports[contest][theirs]), reach)
            for contest, what, ours, theirs, peer, reach in TIMES
        ),
        *(
            Compared(FIGURE, what, peer, "k/s", rates(reports[contest][ours]), rates(reports[contest][theirs]), reach)
            for contest, what, ours, theirs, peer, reach in RATES
        ),
    ]


def micros(rounds: Iterable[Iterable[float]]) -> list[float]:
    """Return each round's microseconds a message."""
    return [seconds * 1e6 for seconds in medians(rounds)]


def rates(rounds: Iterable[Iterable[float]]) -> list[float]:
    """Return each round's thousands of messages a second."""
    return [1e-3 / seconds for seconds in medians(rounds)]
