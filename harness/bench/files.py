"""What is left of a benchmark: bench.json, and bench.svg where there is a curve."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.bench.curve import svg
from harness.bench.lines import Curve, Line
from harness.bench.record import record
from harness.files import write_text


def write(machine: Mapping[str, str], lines: Sequence[Line], json: Path, picture: Path) -> list[Path]:
    """Write what there is to write, and return where. Raises UsageError."""
    texts = {json: record(machine, lines)}
    curve = next((line for line in lines if isinstance(line, Curve)), None)
    if curve is not None:
        texts[picture] = svg(curve, f"{curve.what} and a hub, up and down ({machine['commit']})")
    for file, text in texts.items():
        write_text(file, text)
    return list(texts)
