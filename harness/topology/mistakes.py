"""What pydantic found wrong, in the words of a topology file and at its place."""

import difflib
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from harness.errors import Problem
from harness.topology.load import Document, Location
from harness.topology.model import OPERATIONS, Topology

EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
}


def nearest(word: object, options: Iterable[str]) -> str:
    """Return "; did you mean …?" or, where nothing is near, "; there are …"."""
    known = list(options)
    matches = difflib.get_close_matches(str(word), known, n=1)
    if matches:
        return f"; did you mean {matches[0]!r}?"
    return f"; there are {', '.join(known)}" if known else "; there are none"


def findings_of(error: ValidationError, document: Document) -> list[tuple[Location, Problem]]:
    """Return each of pydantic's findings as a path in the file and a problem."""
    return [(_resolve(details["loc"])[0], _problem(details, document)) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails, document: Document) -> Problem:  # noqa: C901 - one case a kind of mistake
    path, model = _resolve(details["loc"])
    context: Mapping[str, Any] = details.get("ctx", {})
    match details["type"]:
        case "extra_forbidden":
            text = f"unknown key {path[-1]!r}{nearest(path[-1], _keys(model))}"
            return document.problem(path, text, at_key=True)
        case "missing":
            return document.problem(path[:-1], f"the key {path[-1]!r} is missing")
        case "choice":
            text = f"unknown {context['what']} {context['value']!r}{nearest(context['value'], context['options'])}"
        case "mistake":
            text = context["text"]
        case "literal_error":
            text = f"{details['input']!r} where {context['expected']} is expected"
        case "union_tag_not_found":
            text = "a step is {at: worker, do: …}, {kill: worker} or {expect: …}"
        case "union_tag_invalid":
            done = details["input"].get("do")
            if done is None:
                return document.problem(path, "the key 'do' is missing")
            return document.problem((*path, "do"), f"unknown step {done!r}{nearest(done, OPERATIONS)}")
        case "too_short":
            text = "nothing is there"
        case "too_long":
            text = f"{context['actual_length']} names where at most {context['max_length']} descriptors arrive"
        case kind if kind in EXPECTED:
            text = f"expected {EXPECTED[kind]}, not {_spoken(details['input'])}"
        case _:
            text = details["msg"]
    return document.problem(path, text)


def _spoken(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {value!r}"
        case bytes():
            return "binary data"
        case dict():
            return "a map"
        case tuple():
            return "a list"
        case _:
            return f"{value}"


def _resolve(loc: tuple[int | str, ...]) -> tuple[Location, type[BaseModel] | None]:
    """Return the path in the file that pydantic's `loc` stands for, and the model that holds its last key.

    A loc has elements that no file has: a union's tag, the marker "[key]" behind a key that is wrong itself.
    """
    path: Location = ()
    model: Any = Topology
    holder: type[BaseModel] | None = Topology
    for element in loc:
        tagged = _tagged(model, element)
        if tagged is not None:
            model = holder = tagged
        elif element != "[key]":
            path = (*path, element)
            holder = model if isinstance(model, type) and issubclass(model, BaseModel) else holder
            model = _member(model, element)
    return path, holder


def _tagged(annotation: Any, tag: object) -> type[BaseModel] | None:
    """Return the model that a discriminated union has under `tag`."""
    for option in get_args(annotation):
        if get_origin(option) is Annotated:
            model, *metadata = get_args(option)
            if any(isinstance(item, Tag) and item.tag == tag for item in metadata):
                return model  # type: ignore[no-any-return]
    return None


def _member(annotation: Any, element: int | str) -> Any:
    """Return the annotation of what lies under `element` in a value of `annotation`, None where nothing is known."""
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.items()
        return next((_bare(field.annotation) for name, field in fields if (field.alias or name) == element), None)
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return _bare(arguments[1])
    return _bare(arguments[0]) if get_origin(annotation) is tuple else None


def _bare(annotation: Any) -> Any:
    """Return `annotation` without Annotated and without None."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    present = [argument for argument in get_args(annotation) if argument is not type(None)]
    return _bare(present[0]) if len(present) == 1 and get_origin(annotation) is UnionType else annotation


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [] if model is None else [field.alias or name for name, field in model.model_fields.items()]
