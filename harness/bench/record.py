"""The lines as JSON, for programs: every round, so that others can draw their own conclusions."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.bench.lines import Compared, Curve, Line, Measured, Told


def record(machine: Mapping[str, str], lines: Iterable[Line]) -> str:
    """Return the text of bench.json: the machine, and an object a line."""
    return (
        json.dumps({"machine": machine, "lines": [entry(line) for line in lines]}, indent=1, ensure_ascii=False) + "\n"
    )


def entry(line: Line) -> dict[str, Any]:
    """Return what is known of a line; `rounds` and `peer_rounds` are in `unit`."""
    match line:
        case Compared():
            return {
                "figure": line.figure,
                "what": line.what,
                "peer": line.peer,
                "unit": line.unit,
                "rounds": list(line.ours),
                "peer_rounds": list(line.theirs),
                "ratio": line.ratio,
                "reach": str(line.reach),
                "reached": line.is_reached,
            }
        case Measured():
            return {
                "figure": line.figure,
                "what": line.what,
                "unit": line.unit,
                "rounds": list(line.ours),
                "reach": str(line.reach),
                "reached": line.is_reached,
            }
        case Curve():
            seconds = {str(size): list(rounds) for size, rounds in line.seconds.items()}
            return {"figure": line.figure, "what": line.what, "seconds": seconds}
        case Told():
            return {"figure": line.figure, "what": line.what, "peer": line.peer, "told": line.text}
