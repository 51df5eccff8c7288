"""YAML 1.2 to plain values and the place of each, so that every later mistake can be pointed at.

Constructors stop at the first duplicate key; walking the composed nodes finds them all. Sequences become tuples.
"""

import base64
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.composer import ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from harness.errors import Problem, TopologyError

Location = tuple[str | int, ...]

# Aliases share nodes, so that a few lines can stand for more values than memory has.
VALUES_MAX: Final = 100_000
DEPTH_MAX: Final = 100
# JSON readers lose digits, or give up, somewhere above this.
INTEGER_BITS_MAX: Final = 64

TAG: Final = "tag:yaml.org,2002:"
SCALARS: Final = frozenset({"null", "bool", "int", "float", "str", "binary"})
# What YAML 1.1 made of a date, of = and of <<; in YAML 1.2 they are text.
TEXT_IN_1_2: Final = frozenset({"timestamp", "value", "merge"})
# What the YAML library raises for a scalar that is not what its tag says, such as `!!int ""`.
UNREADABLE: Final = (YAMLError, ValueError, LookupError)
LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """A file's values, and where each one stands: by path, the key's place and the value's (line, column from 1).

    `problems` are what was wrong on the way, duplicate keys above all; of a duplicate the first value counts. `wrong`
    are the paths of values that could not be read: nothing more is to be said of them.
    """

    file: str
    values: dict[str, Any]
    keys: Mapping[Location, tuple[int, int]]
    places: Mapping[Location, tuple[int, int]]
    problems: tuple[Problem, ...]
    wrong: frozenset[Location] = frozenset()

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
    return _document(str(file), text)


# Tests, and `--protocol`, look into one file again and again. Nobody changes what was read.
@lru_cache(maxsize=64)
def _document(file: str, text: str) -> Document:
    reader = _Reader(file)
    with _quietly():
        values = reader.read(text)
    if not isinstance(values, dict):
        expected = Problem(file, 1, 1, "expected a map with the keys schema, name and workers")
        raise TopologyError(reader.problems or [expected])
    return Document(file, values, reader.keys, reader.places, tuple(reader.problems), frozenset(reader.wrong_paths))


def scalar(text: str) -> Any:
    """Return what `text` means as a YAML scalar, for values on the command line: 5 is a number, "5" is text."""
    try:
        with _quietly():
            value = YAML(typ="safe", pure=True).load(text)
        _require_sound(value)
    except UNREADABLE:
        return text
    return value if isinstance(value, (str, int, float)) else text


@contextmanager
def _quietly() -> Iterator[None]:
    """Have the YAML library not warn of what YAML allows: anchors given anew, floats as YAML 1.1 has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", YAMLWarning)
        yield


def _require_sound(value: object) -> None:
    """Raise ValueError for a scalar that is more than what messages, JSON and terminals can carry."""
    if isinstance(value, int) and value.bit_length() > INTEGER_BITS_MAX:
        raise ValueError(f"a number of more than {INTEGER_BITS_MAX} bits")
    if isinstance(value, str) and LONE_SURROGATE.search(value):
        raise ValueError(f"{value!r} is no text: half of a surrogate pair is no character")


def spoken(value: object) -> str:
    """Return a value as messages name it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value)
        case bytes():
            return "binary data"
        case dict():
            return "a map"
        case tuple() | list():
            return "a list"
        case _:
            return f"{value}"


class _Reader:
    def __init__(self, file: str) -> None:
        self.problems: list[Problem] = []
        self.wrong_paths: set[Location] = set()
        self.keys: dict[Location, tuple[int, int]] = {}
        self.places: dict[Location, tuple[int, int]] = {}
        self._file = file
        self._yaml = YAML(typ="safe", pure=True)
        self._open: list[Node] = []
        self._count = 0

    def read(self, text: str) -> Any:
        try:
            root = self._yaml.compose(text)
        except YAMLError as error:
            self.problems.append(Problem(self._file, *_syntax_error(error, text)))
            return None
        except RecursionError:
            self.problems.append(Problem(self._file, 1, 1, f"nested deeper than {DEPTH_MAX} levels"))
            return None
        return None if root is None else self._value(root, (), _place(root))

    def _value(self, node: Node, path: Location, place: tuple[int, int]) -> Any:
        self.places[path] = place
        self._count += 1
        if self._count > VALUES_MAX:
            # No use in looking at what is cut off here.
            self._wrong(node, f"more than {VALUES_MAX} values")
            raise TopologyError(self.problems)
        if any(node is outer for outer in self._open):
            return self._wrong(node, "an alias that contains itself", path)
        if len(self._open) > DEPTH_MAX:
            return self._wrong(node, f"nested deeper than {DEPTH_MAX} levels", path)
        self._open.append(node)
        try:
            match node:
                case MappingNode() if node.tag == f"{TAG}map":
                    return self._map(node, path)
                case SequenceNode() if node.tag == f"{TAG}seq":
                    items = enumerate(node.value)
                    return tuple(self._value(item, (*path, index), _place(item)) for index, item in items)
                case ScalarNode():
                    return self._scalar(node)
                case _:
                    return self._wrong(node, _unknown_tag(node), path)
        except ValueError as error:
            return self._wrong(node, str(error), path)
        finally:
            self._open.pop()

    def _map(self, node: MappingNode, path: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            try:
                key = self._key(key_node)
            except ValueError as error:
                # Whether anything else is missing in this map, nobody can tell; of the whole file that is too much.
                self._wrong(key_node, str(error), path or None)
                continue
            if key in values:
                line, _ = self.keys[(*path, key)]
                self._wrong(key_node, f"duplicate key {key!r}; it stands in line {line} already")
            else:
                self.keys[(*path, key)] = _place(key_node)
                # A value that is left out has no place but its key's.
                place = _place(key_node if _is_left_out(value_node) else value_node)
                values[key] = self._value(value_node, (*path, key), place)
        return values

    def _key(self, node: Node) -> str:
        """Return a key. Raises ValueError, whose text says what is wrong, as `_scalar` does."""
        if node.tag == f"{TAG}merge":
            raise ValueError("no merge keys (<<): kinds and defaults are what workers share")
        if not isinstance(node, ScalarNode):
            raise ValueError(f"a key must be text, not {'a map' if isinstance(node, MappingNode) else 'a list'}")  # noqa: TRY004
        key = self._scalar(node)
        if not isinstance(key, str):
            raise ValueError(f"a key must be text, not {spoken(key)}")  # noqa: TRY004 - one exception for all of them
        return key

    def _scalar(self, node: ScalarNode) -> Any:
        tag = str(node.tag).removeprefix(TAG)
        if tag in TEXT_IN_1_2:
            return node.value
        if tag not in SCALARS:
            raise ValueError(_unknown_tag(node))
        try:
            if tag == "binary":
                # The library's own reading leaves out whatever is no base64.
                return base64.b64decode("".join(node.value.split()), validate=True)
            value = self._yaml.constructor.construct_object(node, deep=True)
        except UNREADABLE:
            raise ValueError(f"{node.value!r} is no !!{tag}") from None
        _require_sound(value)
        return value

    def _wrong(self, node: Node, text: str, path: Location | None = None) -> None:
        self.problems.append(Problem(self._file, *_place(node), text))
        if path is not None:
            self.wrong_paths.add(path)


def _syntax_error(error: YAMLError, text: str) -> tuple[int, int, str]:
    """Return line, column and what is to be said of text that is no YAML."""
    match error:
        case ComposerError(context="expected a single document in the stream", problem_mark=mark) if mark:
            return mark.line + 1, mark.column + 1, "a second document; a file is one topology"
        case MarkedYAMLError():
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            return line, column, f"no YAML: {error.problem or error.context}"
        case ReaderError(position=position, character=character):
            line_start = text.rfind("\n", 0, position) + 1
            return text.count("\n", 0, position) + 1, position - line_start + 1, f"no YAML: U+{character:04X} in it"
        case _:
            return 1, 1, f"no YAML: {str(error).splitlines()[0]}"


def _unknown_tag(node: Node) -> str:
    tag = str(node.tag)
    shown = f"!!{tag.removeprefix(TAG)}" if tag.startswith(TAG) else tag
    return f"unknown tag {shown!r}; there is !!binary, and YAML's own are not needed"


def _is_left_out(node: Node) -> bool:
    return isinstance(node, ScalarNode) and bool(node.start_mark.index == node.end_mark.index)


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
