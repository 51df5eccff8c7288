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
from harness.topology.load import LONE_SURROGATE, Document, Location, load, spoken
from harness.topology.mistakes import findings_of, nearest
from harness.topology.model import Topology
from harness.topology.values import is_name, is_scalar

VARIABLE: Final = re.compile(r"\{\{\s*([A-Za-z_][\w-]*)\s*\}\}")
REFERENCE: Final = re.compile(VARIABLE.pattern + r"|\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")
CELLS_MAX: Final = 1_000
# Numbers that the planner knows, a replica's own and that of a round of repeated steps: until then they stay as they
# are in the sections where they may stand.
REPLICA: Final = "replica"
ROUND: Final = "round"
NUMBERED: Final[Mapping[str, tuple[str, ...]]] = {
    REPLICA: ("defaults", "kinds", "workers", "scenario"),
    ROUND: ("scenario",),
}

Scalars = Mapping[str, Any]


# Sections that may be wrong in one entry while their other entries still mean what they say, and what stands for such
# an entry so that the rest can be looked at.
ENTRIES: Final[Mapping[str, Any]] = {
    "workers": {},
    "kinds": {},
    "profiles": {"extends": "none"},
    "routes": {"grant": "", "to": ""},
    "channels": {"between": ("", "")},
    "refused": {},
    "scenario": {"expect": {"exit": {}}},
}
SECTIONS: Final[Mapping[str, Any]] = {"schema": 1, "name": "unnamed", "defaults": {}}


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: the topology with the variables that it was expanded with, and the file for whoever finds a mistake.

    `axes` are those of the matrix with all values of each. `damaged` are the paths (of two elements, or one) that the
    file got wrong and something harmless stands for.
    """

    id: str
    topology: Topology
    variables: Scalars
    axes: Mapping[str, tuple[Any, ...]]
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
    points = expander.points()
    made = [_cell(document, expander, point, suffix) for point, suffix in zip(points, _suffixes(points), strict=True)]
    return [cell for cell in made if cell is not None], [*document.problems, *expander.problems]


def declares(file: Path, name: str) -> bool:
    """Say whether `file` has a variable or an axis of this name. Raises TopologyError where it is no map."""
    sections = (load(file).values.get(section) for section in ("vars", "matrix"))
    return any(isinstance(section, dict) and name in section for section in sections)


def as_text(value: object) -> str:
    """Return a variable's value as text has it, and as a topology writes it."""
    return spoken(value) if isinstance(value, bool) else str(value)


def _suffixes(points: list[dict[str, Any]]) -> list[str]:
    """Return what tells each cell from the others: the values, and where these are the same, what they are of."""
    suffixes = ["-".join(map(as_text, point.values())) for point in points]
    if len(set(suffixes)) < len(suffixes):
        return [",".join(f"{axis}={as_text(value)}" for axis, value in point.items()) for point in points]
    return suffixes


def _cell(document: Document, expander: "_Expander", point: Scalars, suffix: str) -> Cell | None:
    variables = {**expander.variables, **point}
    values = {
        key: value if key in ("vars", "matrix") else expander.expand(value, (key,), variables)
        for key, value in document.values.items()
    }
    damaged: frozenset[Location] = frozenset(map(_entry, expander.wrong))
    try:
        topology = Topology.model_validate(values)
    except ValidationError as error:
        findings = findings_of(error, document)
        expander.problems += [problem for path, problem in findings if not expander.has_told(path)]
        damaged |= {_entry(path) for path, _ in findings}
    if damaged:
        try:
            topology = Topology.model_validate(_patched(values, damaged))
        except ValidationError:
            # Not even the sections are what they should be; what was found so far has to do.
            return None
    identity = f"{topology.name}[{suffix}]" if point else topology.name
    return Cell(identity, topology, variables, expander.axes, document, damaged)


def _entry(path: Location) -> Location:
    """Return the path of the entry that is damaged where what lies at `path` is wrong."""
    return path[:2] if path[0] in ENTRIES else path[:1]


def _patched(values: dict[str, Any], damaged: Iterable[Location]) -> dict[str, Any]:
    """Return `values` with something harmless in each damaged place; indices stay what they are."""
    patched = dict(values)
    for path in damaged:
        section = patched.get(str(path[0])) if path else None
        match path:
            case (str(key), str(entry)) if isinstance(section, dict):
                others = {name: value for name, value in section.items() if name != entry}
                patched[key] = others | ({entry: ENTRIES[key]} if is_name(entry) else {})
            case (str(key), int(index)) if isinstance(section, tuple):
                patched[key] = (*section[:index], ENTRIES[key], *section[index + 1 :])
            case (str(key),) if key in SECTIONS:
                patched[key] = SECTIONS[key]
            case (str(key),):
                patched.pop(key, None)
    return patched


class _Expander:
    """`wrong` are the paths of values of which nothing more is to be said: what is wrong with them was told."""

    def __init__(self, document: Document, chosen: Scalars) -> None:
        self.problems: list[Problem] = []
        self.wrong: set[Location] = set(document.wrong)
        self._document = document
        self._chosen = chosen
        self._vars = self._map("vars")
        self._matrix = self._map("matrix")
        # Names that are there without a value that could be used.
        self._useless: set[str] = set()
        self.variables = self._variables()
        self.axes = self._axes()
        self._check_matrix()
        self._check_axes()
        self._check_chosen()

    def _map(self, key: str) -> dict[str, Any]:
        """Return a section that other sections depend on; what is wrong with its type, the model says."""
        section = self._document.values.get(key)
        return section if isinstance(section, dict) else {}

    def _variables(self) -> dict[str, Any]:
        """Return the variables. One may refer to those above it, and to no axis."""
        variables: dict[str, Any] = {}
        for name, value in self._vars.items():
            expanded = self._chosen.get(name, self.expand(value, ("vars", name), variables))
            if is_scalar(expanded) and ("vars", name) not in self.wrong:
                variables[name] = expanded
            else:
                self._useless.add(name)
        return variables

    def _axes(self) -> dict[str, tuple[Any, ...]]:
        """Return the axes and their values, which may refer to variables."""
        axes: dict[str, tuple[Any, ...]] = {}
        for name, values in self._matrix.items():
            path = ("matrix", name)
            expanded = self.expand(values, path, self.variables)
            if isinstance(expanded, tuple) and expanded and all(map(is_scalar, expanded)):
                axes[name] = expanded
            else:
                self._useless.add(name)
        return axes

    def _check_axes(self) -> None:
        for axis, values in self.axes.items():
            texts = set[str]()
            for index, text in enumerate(map(as_text, values)):
                if text in texts:
                    self._problem(("matrix", axis, index), f"{text} twice on the axis {axis!r}")
                if LONE_SURROGATE.search(text):
                    self._problem(("matrix", axis, index), "a value on an axis is text, in UTF-8")
                texts.add(text)

    def _check_matrix(self) -> None:
        for section, names in (("vars", self._vars), ("matrix", self._matrix)):
            if REPLICA in names:
                self._problem((section, REPLICA), "'replica' is each replica's own number; choose another", at_key=True)
            if ROUND in names:
                self._problem((section, ROUND), "'round' is the number of a round; choose another", at_key=True)
        for axis, values in self._matrix.items():
            if axis in self._vars:
                self._problem(("matrix", axis), f"{axis!r} is a variable already", at_key=True)
            if values == ():
                self._problem(("matrix", axis), "an axis without values leaves no cell")

    def _check_chosen(self) -> None:
        known = {**self._vars, **self._matrix}
        for name, value in self._chosen.items():
            if name not in known:
                self._problem((), f"no variable or axis {name!r}{nearest(name, known)}")
            elif not is_scalar(value):
                self._problem((), f"{name!r} can be text, a number, true or false, not {spoken(value)}")
            elif name in self.axes and not self._matching(name):
                text = f"{as_text(value)} is not on the axis {name!r}"
                self._problem(("matrix", name), text + nearest(as_text(value), map(as_text, self.axes[name])))

    def _matching(self, axis: str) -> tuple[Any, ...]:
        return tuple(value for value in self.axes[axis] if as_text(value) == as_text(self._chosen[axis]))

    def has_told(self, path: Location) -> bool:
        """Say whether what is wrong at `path` only follows from what was told already."""
        return any(path[: len(wrong)] == wrong or wrong[: len(path)] == path for wrong in self.wrong)

    def points(self) -> list[dict[str, Any]]:
        """Return the cells of the matrix that were chosen, as axis → value; without a matrix the one empty point."""
        axes = {axis: self._matching(axis) if axis in self._chosen else values for axis, values in self.axes.items()}
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
                if path[0] in NUMBERED.get(variable, ()):
                    return match[0]
                if variable not in variables:
                    self._refer_in_vain(variable, path, variables)
                return as_text(variables.get(variable, ""))
            value: str | None = os.environ.get(name, default)
            if value is None:
                self._problem(path, f"{name!r} is not in the environment; write ${{{name}:-default}}")
                self.wrong.add(path)
            return value or ""

        # In one pass, so that nothing that was inserted is taken for a reference itself.
        return REFERENCE.sub(referred, text)

    def _refer_in_vain(self, name: str, path: Location, variables: Scalars) -> None:
        self.wrong.add(path)
        if name in self._useless:
            return
        if name in self._vars:
            self._problem(path, f"{name!r} has no value yet; a variable may use those above it")
        elif name in self._matrix:
            self._problem(path, f"{name!r} is an axis; only what comes after vars and matrix may use it")
        else:
            self._problem(path, f"unknown variable {name!r}{nearest(name, variables)}")

    def _problem(self, path: Location, text: str, *, at_key: bool = False) -> None:
        problem = self._document.problem(path, text, at_key=at_key)
        if problem not in self.problems:
            self.problems.append(problem)
