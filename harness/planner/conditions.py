"""Which cells a part of a topology is about: those whose axes and variables have these values."""

from collections.abc import Mapping
from typing import Any

from harness.planner.findings import Findings
from harness.topology import Cell, as_text
from harness.topology.load import Location
from harness.topology.mistakes import nearest


def holds(wanted: Mapping[str, tuple[Any, ...]], path: Location, cell: Cell, findings: Findings) -> bool:
    """Say whether each variable or axis has one of its `wanted` values in this cell; `path` leads to them."""
    variables, axes = cell.variables, cell.axes
    all_hold = True
    for name, values in wanted.items():
        where = (*path, name)
        if not findings.variables_are_whole and name not in variables:
            continue
        if not findings.known(name, variables, where, "variable or axis", at_key=True):
            continue
        # A variable may be given any value when imclab runs; an axis has those that it has.
        for index, value in enumerate(values if name in axes else ()):
            if value not in axes[name]:
                text = f"{as_text(value)} is not on the axis {name!r}"
                findings.add((*where, index), text + nearest(as_text(value), map(as_text, axes[name])))
        all_hold &= variables[name] in values
    return all_hold
