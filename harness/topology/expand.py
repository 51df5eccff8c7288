"""Variables and the matrix: one parsed file becomes one frozen topology a cell.

`{{name}}` stands for a variable or an axis of the matrix, `${NAME:-default}` for an environment variable of whoever
runs imclab. A value that is nothing but `{{name}}` becomes what the variable is, number or text; elsewhere it is
inserted as text. Expansion comes after parsing, so no value can change the file's structure.
"""

import itertools
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from harness.errors import Problem
from harness.topology.load import Document, Location, load
from harness.topology.mistakes import findings_of, nearest
from harness.topology.model import Topology

VARIABLE: Final = re.compile(r"\{\{\s*([A-Za-z_][\w-]*)\s*\}\}")
REFERENCE: Final = re.compile(VARIABLE.pattern + r"|\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")
CELLS_MAX: Final = 10_000

Scalars = Mapping[str, Any]


# Sections that may be wrong in one entry while their other entries still mean what they say, and what stands for such
# an entry so that the rest can be looked at.
ENTRIES: Final[Mapping[str, Any]] = {
    "workers": {},
    "kinds": {},
    "routes": {"grant": "", "to": ""},
    "scenario": {"expect": {"exit": {}}},
}
SECTIONS: Final[Mapping[str, Any]] = {"schema": 1, "name": "unnamed", "defaults": {}}


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: the topology with the variables that it was expanded with, and the file for whoever finds a mistake.

    `damaged` are the paths (of two elements, or one) that the file got wrong and something harmless stands for.
    """

    id: str
    topology: Topology
    variables: Scalars
    axes: tuple[str, ...]
    document: Document
    damaged: frozenset[Location]

    @property
    def folder(self) -> Path:
        """Where the file lies: programs are looked up there first."""
        return Path(self.document.file).resolve().parent


def read(file: Path, chosen: Scalars | None = None) -> tuple[list[Cell], list[Problem]]:
    """Return the cells of `file`, those alone that have the `chosen` values on their axes, and all that is wrong.

    `chosen` also replaces variables. Raises TopologyError where there is nothing to make a cell of.
    """
    document = load(file)
    expander = _Expander(document, chosen or {})
    variables = expander.variables()
    cells = []
    for point in expander.points():
        cell = _cell(document, variables | point, tuple(point), expander)
        if cell is not None:
            cells.append(cell)
    return cells, [*document.problems, *expander.problems]


def _cell(document: Document, variables: Scalars, axes: tuple[str, ...], expander: "_Expander") -> Cell | None:
    values = {
        key: value if key in ("vars", "matrix") else expander.expand(value, (key,), variables)
        for key, value in document.values.items()
    }
    damaged: frozenset[Location] = frozenset()
    try:
        topology = Topology.model_validate(values)
    except ValidationError as error:
        findings = findings_of(error, document)
        expander.problems += [problem for _, problem in findings]
        damaged = frozenset(path[:2] if path[0] in ENTRIES else path[:1] for path, _ in findings)
        try:
            topology = Topology.model_validate(_patched(values, damaged))
        except ValidationError:
            # Not even the sections are what they should be; what was found so far has to do.
            return None
    suffix = "-".join(str(variables[axis]) for axis in axes)
    return Cell(f"{topology.name}[{suffix}]" if axes else topology.name, topology, variables, axes, document, damaged)


def _patched(values: dict[str, Any], damaged: Iterable[Location]) -> dict[str, Any]:
    """Return `values` with something harmless in each damaged place; indices stay what they are."""
    patched = dict(values)
    for path in damaged:
        section = patched.get(str(path[0])) if path else None
        match path:
            case (str(key), str(entry)) if isinstance(section, dict):
                patched[key] = section | {entry: ENTRIES[key]}
            case (str(key), int(index)) if isinstance(section, tuple):
                patched[key] = (*section[:index], ENTRIES[key], *section[index + 1 :])
            case (str(key),) if key in SECTIONS:
                patched[key] = SECTIONS[key]
            case (str(key),):
                patched.pop(key, None)
    return patched


class _Expander:
    def __init__(self, document: Document, chosen: Scalars) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._chosen = chosen
        self._vars = self._map("vars")
        self._matrix = {
            axis: values for axis, values in self._map("matrix").items() if isinstance(values, tuple) and values
        }
        self._check()

    def _map(self, key: str) -> dict[str, Any]:
        """Return a section that other sections depend on; what is wrong with its type, the model says."""
        section = self._document.values.get(key)
        return section if isinstance(section, dict) else {}

    def _check(self) -> None:
        for axis, values in self._map("matrix").items():
            if axis in self._vars:
                self._problem(("matrix", axis), f"{axis!r} is a variable already")
            if values == ():
                self._problem(("matrix", axis), "an axis without values leaves no cell")
            if isinstance(values, tuple) and len(set(map(str, values))) != len(values):
                self._problem(("matrix", axis), "the same value twice")
        for name, value in self._chosen.items():
            if name in self._matrix:
                if not self._matching(name):
                    there = ", ".join(map(str, self._matrix[name]))
                    self._problem(("matrix", name), f"{value!r} is not on the axis {name!r}; there are {there}")
            elif name not in self._vars:
                self._problem((), f"no variable or axis {name!r}{nearest(name, [*self._vars, *self._matrix])}")

    def _matching(self, axis: str) -> list[Any]:
        return [value for value in self._matrix[axis] if str(value) == str(self._chosen[axis])]

    def variables(self) -> dict[str, Any]:
        """Return the variables. One may refer to those above it, and to no axis."""
        variables: dict[str, Any] = {}
        for name, value in self._vars.items():
            variables[name] = self._chosen.get(name, self.expand(value, ("vars", name), variables))
        return variables

    def points(self) -> list[dict[str, Any]]:
        """Return the cells of the matrix that were chosen, as axis → value; without a matrix the one empty point."""
        axes = {
            axis: self._matching(axis) if axis in self._chosen else list(values)
            for axis, values in self._matrix.items()
        }
        if math.prod(map(len, axes.values())) > CELLS_MAX:
            self._problem(("matrix",), f"a matrix of more than {CELLS_MAX} cells")
            return []
        return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]

    def expand(self, value: Any, path: Location, variables: Scalars) -> Any:
        """Return `value` with everything that it refers to; what it refers to in vain becomes a problem."""
        match value:
            case dict():
                return {key: self.expand(item, (*path, key), variables) for key, item in value.items()}
            case tuple():
                return tuple(self.expand(item, (*path, index), variables) for index, item in enumerate(value))
            case str():
                return self._expand_text(value, path, variables)
            case _:
                return value

    def _expand_text(self, text: str, path: Location, variables: Scalars) -> Any:
        whole = VARIABLE.fullmatch(text)
        if whole and whole[1] in variables:
            return variables[whole[1]]

        def referred(match: re.Match[str]) -> str:
            variable, name, default = match.groups()
            if variable is not None:
                if variable not in variables:
                    self._problem(path, f"unknown variable {variable!r}{nearest(variable, variables)}")
                return str(variables.get(variable, ""))
            value: str | None = os.environ.get(name, default)
            if value is None:
                self._problem(path, f"{name!r} is not in the environment; write ${{{name}:-default}}")
            return value or ""

        # In one pass, so that nothing that was inserted is taken for a reference itself.
        return REFERENCE.sub(referred, text)

    def _problem(self, path: Location, text: str) -> None:
        problem = self._document.problem(path, text)
        if problem not in self.problems:
            self.problems.append(problem)
