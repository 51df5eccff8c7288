"""bench.json: everything that was taken, for programs."""

import json

from harness.bench.record import record
from tests.bench.test_table import LINES


def test_the_record_has_every_round_and_what_it_came_to() -> None:
    told = json.loads(record({"commit": "abc"}, LINES))
    assert told["machine"] == {"commit": "abc"}
    assert told["lines"] == [
        {
            "figure": "f",
            "what": "start",
            "peer": "spawn",
            "unit": "ms",
            "rounds": [1, 2, 3],
            "peer_rounds": [4, 4, 4],
            "ratio": 0.5,
            "reach": "≤ 0.4",
            "reached": False,
        },
        {
            "figure": "f",
            "what": "connect",
            "peer": "a peer",
            "unit": "k/s",
            "rounds": [1500],
            "peer_rounds": [1000],
            "ratio": 1.5,
            "reach": "≥ 2",
            "reached": False,
        },
        {"figure": "f", "what": "memory", "unit": "MiB", "rounds": [2.25], "reach": "≤ 2.5", "reached": True},
        {"figure": "f", "what": "some workers", "seconds": {"1": [0.5], "10": [5, 6, 7]}},
        {
            "figure": "f",
            "what": "suite",
            "peer": "",
            "told": "not measured: a reason that is longer than any column of numbers",
        },
    ]
