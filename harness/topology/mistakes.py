"""What pydantic found wrong, in the words of a topology file and at its place."""

import difflib
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from harness.errors import Problem
from harness.topology.load import Document, Location, spoken
from harness.topology.model import Profile, Topology
from harness.topology.steps import OPERATIONS, UNATTACHED

EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
}


# Keys that others have, where one might look for them.
ELSEWHERE: Final[Mapping[tuple[type[BaseModel] | None, object], str]] = {
    (Profile, "limits"): "; limits are a worker's: say limits: there, in its kind or under defaults"
}
# What any step may say, so that it is not what makes it one.
COMMON_KEYS: Final = frozenset({"when", "within"})
# More than these are no help to anybody who looks for one.
LISTED_MAX: Final = 16
# To look through more takes its time, and a file may have as many mistakes as it has lines.
COMPARED_MAX: Final = 500
SIMILAR: Final = 0.7


def nearest(word: object, options: Iterable[object]) -> str:
    """Return "; did you mean …?" or, where nothing is near and there are not too many, "; there are …"."""
    known = list(map(str, options))
    if len(known) > COMPARED_MAX:
        return ""
    match = _match(str(word), known)
    if match is not None:
        return f"; did you mean {match!r}?"
    if len(known) > LISTED_MAX:
        return ""
    return f"; there {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}"


def _match(word: str, known: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=SIMILAR)), None)


def findings_of(error: ValidationError, document: Document) -> list[tuple[Location, Problem]]:
    """Return each of pydantic's findings as a path in the file and a problem.

    A key that is missing because it is misspelt is told once, as the unknown key that it is.
    """
    findings = error.errors(include_url=False)
    misspelt = {_misspelt(details) for details in findings if details["type"] == "extra_forbidden"}
    return [
        (path, _problem(details, document))
        for details in findings
        if (path := _resolve(details)[0]) not in misspelt or details["type"] != "missing"
    ]


def _misspelt(details: ErrorDetails) -> Location:
    """Return the path that an unknown key should probably have."""
    path, model = _resolve(details)
    return (*path[:-1], _match(str(path[-1]), _keys(model)) or "")


def _problem(details: ErrorDetails, document: Document) -> Problem:  # noqa: C901 - one case a kind of mistake
    path, model = _resolve(details)
    context: Mapping[str, Any] = details.get("ctx", {})
    path += context.get("within", ())
    at_key = _is_of_a_key(details)
    match details["type"]:
        case "extra_forbidden":
            elsewhere = ELSEWHERE.get((model, path[-1])) or nearest(path[-1], _keys(model))
            text = f"unknown key {path[-1]!r}{elsewhere}"
            return document.problem(path, text, at_key=True)
        case "missing":
            return document.problem(path[:-1], f"the key {path[-1]!r} is missing")
        case "nothing":
            text = f"the key {path[-1]!r} has no value"
        case "unknown":
            text = f"unknown {context['what']} {context['value']!r}{nearest(context['value'], context['options'])}"
        case "mistake":
            text = context["text"]
        case "union_tag_not_found":
            return _no_step(details["input"], path, document)
        case "union_tag_invalid":
            done = details["input"].get("do")
            if done is None:
                return document.problem(path, "the key 'do' is missing")
            path = (*path, "do")
            known = isinstance(done, str)
            text = f"unknown step {done!r}{nearest(done, OPERATIONS)}" if known else _unexpected("a step's name", done)
        case "too_short":
            text = "expected at least one worker"
        case "too_long":
            most = context["max_length"]
            text = f"{context['actual_length']} names for at most {most} descriptor{'' if most == 1 else 's'}"
        case kind if kind in EXPECTED:
            text = _unexpected(EXPECTED[kind], details["input"])
        case _:
            text = details["msg"]
    return document.problem(path, text, at_key=at_key)


def _no_step(value: Any, path: Location, document: Document) -> Problem:
    """Return what is wrong with an entry of the scenario that is no step at all."""
    keys = [key for key in value if key not in COMMON_KEYS] if isinstance(value, dict) else []
    if keys:
        text = f"unknown step {keys[0]!r}{nearest(keys[0], ('at', *UNATTACHED))}"
        return document.problem((*path, keys[0]), text, at_key=True)
    return document.problem(path, f"a step is {{at: worker, do: …}}, or has one of the keys {', '.join(UNATTACHED)}")


def _unexpected(expected: str, value: object) -> str:
    return f"expected {expected}, not {'the text ' if isinstance(value, str) else ''}{spoken(value)}"


def _is_of_a_key(details: ErrorDetails) -> bool:
    """Say whether a key is what is wrong: then pydantic puts the marker "[key]" behind it, which may be a key, too."""
    return details["loc"][-1:] == ("[key]",) and details["type"] != "extra_forbidden"


def _resolve(details: ErrorDetails) -> tuple[Location, type[BaseModel] | None]:
    """Return the path in the file that pydantic's `loc` stands for, and the model that holds its last key.

    A loc has elements that no file has: a union's tag, the marker of a key that is wrong itself.
    """
    loc = details["loc"][:-1] if _is_of_a_key(details) else details["loc"]
    path: Location = ()
    model: Any = Topology
    holder: type[BaseModel] | None = Topology
    for element in loc:
        tagged = _tagged(model, element)
        if tagged is not None:
            model = tagged
            holder = tagged if isinstance(tagged, type) and issubclass(tagged, BaseModel) else holder
        else:
            path = (*path, element)
            holder = model if isinstance(model, type) and issubclass(model, BaseModel) else holder
            model = _member(model, element)
    return path, holder


def _tagged(annotation: Any, tag: object) -> Any:
    """Return what a discriminated union has under `tag`."""
    for option in get_args(annotation):
        if get_origin(option) is Annotated:
            model, *metadata = get_args(option)
            if any(isinstance(item, Tag) and item.tag == tag for item in metadata):
                return model
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
    return _bare(present[0]) if len(present) == 1 and get_origin(annotation) in (Union, UnionType) else annotation


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [] if model is None else [field.alias or name for name, field in model.model_fields.items()]
