"""What is left of a benchmark: bench.json, and bench.svg where there is a curve."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.bench.curve import svg
from harness.bench.lines import Curve, Line
from harness.bench.record import record
from harness.errors import UsageError


def require_writable(*files: Path) -> None:
    """Find out before minutes were spent. Raises UsageError for a file that cannot be written."""
    for file in files:
        if not file.parent.is_dir():
            raise UsageError(f"{file}: there is no folder {file.parent}")
        if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
            raise UsageError(f"{file}: it cannot be written")


def write(machine: Mapping[str, str], lines: Sequence[Line], json: Path, picture: Path) -> list[Path]:
    """Write what there is to write, and return where. Raises OSError."""
    json.write_text(record(machine, lines), encoding="utf-8")
    curve = next((line for line in lines if isinstance(line, Curve)), None)
    if curve is None:
        return [json]
    picture.write_text(svg(curve, f"{curve.what} and a hub, up and down ({machine['commit']})"), encoding="utf-8")
    return [json, picture]
