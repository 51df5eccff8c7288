"""YAML 1.2 to plain values and the place of each, so that every later mistake can be pointed at.

Constructors stop at the first duplicate key; walking the composed nodes finds them all. Sequences become tuples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from harness.errors import Problem, TopologyError

Location = tuple[str | int, ...]

# Aliases share nodes, so that a few lines can stand for more values than memory has.
VALUES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Document:
    """A file's values, and where each one stands: by path, the key's place and the value's (line, column from 1).

    `problems` are what was wrong on the way, duplicate keys above all; of a duplicate the first value counts.
    """

    file: str
    values: dict[str, Any]
    keys: Mapping[Location, tuple[int, int]]
    places: Mapping[Location, tuple[int, int]]
    problems: tuple[Problem, ...]

    def problem(self, path: Location, text: str, *, at_key: bool = False) -> Problem:
        """Return a problem at `path`, or at the nearest place above it that the file has."""
        if at_key and path in self.keys:
            return Problem(self.file, *self.keys[path], text)
        while path and path not in self.places:
            path = path[:-1]
        return Problem(self.file, *self.places.get(path, (1, 1)), text)


def load(file: Path) -> Document:
    """Return the values of `file`. Raises TopologyError for what is no file, no YAML or no map."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise TopologyError([Problem(str(file), 1, 1, f"cannot read the file: {reason}")]) from None
    reader = _Reader(str(file))
    values = reader.read(text)
    if not isinstance(values, dict):
        expected = Problem(str(file), 1, 1, "expected a map with the keys schema, name and workers")
        raise TopologyError(reader.problems or [expected])
    return Document(str(file), values, reader.keys, reader.places, tuple(reader.problems))


def scalar(text: str) -> Any:
    """Return what `text` means as a YAML scalar, for values on the command line: 5 is a number, "5" is text."""
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return text
    return value if isinstance(value, (str, int, float, bool)) else text


class _Reader:
    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self.keys: dict[Location, tuple[int, int]] = {}
        self.places: dict[Location, tuple[int, int]] = {}
        self._file = file
        self._yaml = YAML(typ="safe", pure=True)
        self._open: list[Node] = []
        self._count = 0

    def read(self, text: str) -> Any:
        try:
            root = self._yaml.compose(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self.problems.append(Problem(self._file, line, column, f"no YAML: {error.problem or error.context}"))
            return None
        except YAMLError as error:
            self.problems.append(Problem(self._file, 1, 1, f"no YAML: {str(error).splitlines()[0]}"))
            return None
        except RecursionError:
            self.problems.append(Problem(self._file, 1, 1, "nested too deeply"))
            return None
        return None if root is None else self._value(root, ())

    def _value(self, node: Node, path: Location) -> Any:
        self.places.setdefault(path, _place(node))
        self._count += 1
        if any(node is outer for outer in self._open):
            return self._wrong(node, "an alias that contains itself")
        if self._count > VALUES_MAX:
            # Said once, at the value that was one too many.
            return self._wrong(node, f"more than {VALUES_MAX} values") if self._count == VALUES_MAX + 1 else None
        self._open.append(node)
        try:
            match node:
                case MappingNode():
                    return self._map(node, path)
                case SequenceNode():
                    return tuple(self._value(item, (*path, index)) for index, item in enumerate(node.value))
                case ScalarNode():
                    return self._scalar(node)
                case _:
                    raise AssertionError(node)
        finally:
            self._open.pop()

    def _map(self, node: MappingNode, path: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str):
                self._wrong(key_node, "a key must be text")
            elif key in values:
                line, _ = self.keys[(*path, key)]
                self._wrong(key_node, f"duplicate key {key!r}; it stands in line {line} already")
            else:
                self.keys[(*path, key)] = _place(key_node)
                values[key] = self._value(value_node, (*path, key))
        return values

    def _scalar(self, node: ScalarNode) -> Any:
        try:
            return self._yaml.constructor.construct_object(node, deep=True)
        except (YAMLError, ValueError) as error:
            reason = error.problem if isinstance(error, MarkedYAMLError) else str(error)
            return self._wrong(node, f"no value: {reason}")

    def _wrong(self, node: Node, text: str) -> None:
        self.problems.append(Problem(self._file, *_place(node), text))


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
