"""The values that a topology file is made of: what each may be, what it means, what is wrong with others.

Each type brings its JSON schema along, since what stands in the file (5s) is not what it means (5.0).
"""

import errno
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from harness.comparison import Comparison, mistake_in
from harness.topology.load import INTEGER_BITS_MAX, Location, spoken
from sandbox.abi import FIRST_IMPORT
from sandbox.confinement.policy import Layer
from sandbox.protocols import PROTOCOLS
from sandbox.wire import LAYOUTS

# A step's bytes travel to the worker in one message of the control channel, as base64 within JSON.
INLINE_DATA_MAX: Final = 64 * 1024
# Enough to show that one byte too many is refused, and no way to ask a worker for all of its memory.
GENERATED_DATA_MAX: Final = 16 * 1024 * 1024
EXIT_STATUS_MAX: Final = 255
REPLICAS_MAX: Final = 10_000
ROUNDS_MAX: Final = 10_000
# As many as a worker starts with, and fs.nr_open's default.
ADDRESS_SPACE_MIN: Final = 64 * 1024**2
OPEN_FILES_MIN: Final = 16
OPEN_FILES_MAX: Final = 1 << 20
# What a worker's limit on open files leaves room for.
NUMBER_MAX: Final = 999
CHANNEL_ENDS: Final = 2
SECONDS_MAX: Final = 7 * 24 * 60 * 60
UNITS: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
# What a file may write in place of anything that is no list and no map.
REFERENCE_SCHEMA: Final = {"type": "string", "pattern": r"\{\{|\$\{"}
NAME_PATTERN: Final = "[A-Za-z][A-Za-z0-9_-]{0,63}"
PROGRAM_PATTERN: Final = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
DURATION_PATTERN: Final = r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)"
SIZE_PATTERN: Final = r"([0-9]+)(B|KiB|MiB|GiB)"

DESCRIPTOR_KINDS: Final = ("SocketAddress", "DataOnlySocket", "SharedMemory", "HostFile", "INVALID")
SIGNALS: Final = {number.name: int(number) for number in signal.Signals}
ERRNO_NAMES: Final = tuple(sorted(errno.errorcode.values()))
NO_NAME: Final = "is no name; names are at most 64 letters, digits, _ and -, and begin with a letter"
# More than a message can carry, so that EINVAL can be seen, and no more than a step's own message can name.
NAMED_DESCRIPTORS_MAX: Final = 64


class Mistake(PydanticCustomError):
    """A value that our own rules refuse, in our own words."""

    def __new__(cls, text: str, within: Location = ()) -> Self:
        """Return an error whose message is `text`, braces and all; `within` leads to the part that is wrong."""
        return super().__new__(cls, "mistake", "{text}", {"text": text, "within": within})


class Unknown(PydanticCustomError):
    """A text that is none of those that are known; the message names the nearest."""

    def __new__(cls, what: str, value: str, options: tuple[str, ...]) -> Self:
        """Return an error about `value`, which is no `what`."""
        return super().__new__(cls, "unknown", "{what}", {"what": what, "value": value, "options": options})


def chosen_from(options: tuple[str, ...], what: str) -> BeforeValidator:
    """Return a validator for one of `options`."""

    def choose(value: Any) -> Any:
        if not isinstance(value, str):
            raise Mistake(f"{spoken(value)} is no {what}; write a name, as in {options[0]}")
        if value not in options:
            raise Unknown(what, value, options)
        return value

    return BeforeValidator(choose)


def parsed_by(parse: Callable[[Any], Any]) -> BeforeValidator:
    """Return a validator that lets `parse` turn what YAML says into what it means."""
    return BeforeValidator(parse)


def parse_duration(value: Any) -> float:
    """Return seconds from a number and its unit."""
    match = re.fullmatch(DURATION_PATTERN, value) if isinstance(value, str) else None
    if match is None:
        raise Mistake(f"{spoken(value)} is no duration; write a number and ms, s or m, as in 5s")
    seconds = float(match[1]) * {"ms": 0.001, "s": 1, "m": 60}[match[2]]
    if not seconds:
        raise Mistake("a duration of 0 would pass at once")
    if seconds > SECONDS_MAX:
        raise Mistake(f"more than a week; write at most {SECONDS_MAX // 60}m")
    return seconds


def parse_names(value: Any) -> tuple[str, ...]:
    """Return a tuple of names from one name or a list."""
    names = value if isinstance(value, tuple) else (value,)
    for index, name in enumerate(names):
        if not is_name(name):
            raise Mistake(f"{spoken(name)} {NO_NAME}", (index,))
        if name in names[:index]:
            raise Mistake(f"the name {name!r} twice", (index,))
    return names


def parse_name(value: Any) -> str:
    """Return a name: at most 64 letters, digits, _ and -, beginning with a letter."""
    if not is_name(value):
        raise Mistake(f"{spoken(value)} {NO_NAME}")
    return str(value)


def is_name(value: object) -> bool:
    """Say whether `value` may name a worker, a variable, a descriptor."""
    return isinstance(value, str) and bool(re.fullmatch(NAME_PATTERN, value))


def parse_program(value: Any) -> str:
    """Return a program's "package.module:function"."""
    if not isinstance(value, str) or not re.fullmatch(PROGRAM_PATTERN, value):
        raise Mistake(f"{spoken(value)} is no program; write package.module:function")
    return value


def parse_layout(value: Any) -> Any:
    """Return the name of a wire layout, two of which look like numbers."""
    return str(value) if type(value) is int else value


def parse_command(value: Any) -> tuple[str, ...]:
    """Return the words of a command: a list of text and numbers, the executable first."""
    if not isinstance(value, tuple) or not value:
        raise Mistake("a command is a list: the executable, then its arguments, as in [./server, --port, 3]")
    for index, word in enumerate(value):
        if not isinstance(word, (str, int, float)):
            raise Mistake(f"expected text or a number, not {spoken(word)}", (index,))
        if "\0" in str(word):
            raise Mistake("a command cannot hold a null character", (index,))
    return tuple(spoken(word) if isinstance(word, bool) else str(word) for word in value)


def parse_replicas(value: Any) -> int:
    """Return how many of a worker there are to be."""
    if type(value) is not int or not 1 <= value <= REPLICAS_MAX:
        raise Mistake(f"{spoken(value)} is no number of replicas; write 1..{REPLICAS_MAX}")
    return value


def parse_number(value: Any) -> int:
    """Return the number of a descriptor that a topology may choose."""
    if type(value) is not int or not FIRST_IMPORT <= value <= NUMBER_MAX:
        fixed = "3, 4 and 5 are the service port, its address and the control channel"
        raise Mistake(f"{spoken(value)} is no number to choose; write {FIRST_IMPORT}..{NUMBER_MAX} ({fixed})")
    return value


def parse_ends(value: Any) -> tuple[str, str]:
    """Return the two ends of a channel, each worker.number as text."""
    if not isinstance(value, tuple) or len(value) != CHANNEL_ENDS or not all(isinstance(end, str) for end in value):
        raise Mistake("a channel is between two descriptors, as in [a.8, b.8]")
    return value[0], value[1]


def parse_scalar(value: Any) -> Any:
    """Return a value that is neither a map nor a list, and is there."""
    if not is_scalar(value):
        raise Mistake(f"expected text, a number, true or false, not {spoken(value)}")
    return value


def is_scalar(value: object) -> bool:
    """Say whether `value` may be a variable's, or lie on an axis."""
    return isinstance(value, (str, int, float))


def at_least(count: int, spoken_count: str) -> BeforeValidator:
    """Return a validator for a list of at least so many; pydantic's own would not count those that are wrong."""

    def count_them(value: Any) -> Any:
        if isinstance(value, tuple) and len(value) < count:
            raise Mistake(f"expected at least {spoken_count}")
        return value

    return BeforeValidator(count_them)


def parse_wanted(value: Any) -> Any:
    """Return a tuple of values from one value or a list."""
    return value if isinstance(value, tuple) else (value,)


def parse_selectors(value: Any) -> tuple[str, ...]:
    """Return a tuple of what names workers, from one text or a list."""
    selectors = parse_wanted(value)
    for index, selector in enumerate(selectors):
        if not isinstance(selector, str):
            raise Mistake(f"expected text, not {spoken(selector)}", (index,) if isinstance(value, tuple) else ())
    return tuple(selectors)


def parse_arguments(value: Any) -> Any:
    """Return arguments, which travel to the worker as JSON."""
    if (path := _path_of_binary(value)) is not None:
        raise Mistake("no binary data here: arguments travel as JSON", path)
    return value


def _path_of_binary(value: object) -> Location | None:
    if isinstance(value, bytes):
        return ()
    members: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, tuple):
        members = list(enumerate(value))
    for key, member in members:
        if (path := _path_of_binary(member)) is not None:
            return key, *path
    return None


def parse_variable_name(value: Any) -> Any:
    """Return a name that an environment can hold."""
    if not value or "=" in value or "\0" in value:
        raise Mistake(f"{value!r} cannot be the name of an environment variable")
    return value


def parse_variable_text(value: Any) -> Any:
    """Return text that an environment can hold."""
    if isinstance(value, str) and "\0" in value:
        raise Mistake("an environment variable cannot hold a null character")
    return value


def parse_data(value: Any) -> bytes | int:
    """Return the bytes of text or !!binary, or the number of bytes to generate of {size: N}."""
    if isinstance(value, str):
        # What is no UTF-8 can come from an environment variable, and goes on as the bytes that it was.
        value = value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        if len(value) > INLINE_DATA_MAX:
            raise Mistake(
                f"{len(value)} bytes of data; write at most {INLINE_DATA_MAX}, or {{size: N}} to generate them"
            )
        return value
    if isinstance(value, dict) and set(value) == {"size"} and type(value["size"]) is int:
        if not 0 <= value["size"] <= GENERATED_DATA_MAX:
            raise Mistake(f"a size of {value['size']}, outside 0..{GENERATED_DATA_MAX}")
        return value["size"]
    raise Mistake("data is text, !!binary or {size: N}")


def parse_exit(value: Any) -> int:
    """Return an exit status as subprocess tells it, from a number or a signal's name."""
    if type(value) is int and 0 <= value <= EXIT_STATUS_MAX:
        return value
    if isinstance(value, str) and value in SIGNALS:
        return -SIGNALS[value]
    if isinstance(value, str):
        raise Unknown("signal", value, tuple(SIGNALS))
    raise Mistake(f"{spoken(value)} is no exit status; write 0..{EXIT_STATUS_MAX} or a signal, as in SIGKILL")


def parse_schema(value: Any) -> Any:
    """Return the version of this format, of which there is one so far."""
    if type(value) is not int or value != 1:
        raise Mistake(f"expected schema 1, not {spoken(value)}")
    return value


def parse_size(value: Any) -> int:
    """Return bytes from a number and its unit."""
    match = re.fullmatch(SIZE_PATTERN, value) if isinstance(value, str) else None
    if match is None:
        raise Mistake(f"{spoken(value)} is no size; write a number and B, KiB, MiB or GiB, as in 256MiB")
    size = int(match[1]) * UNITS[match[2]]
    if not 0 < size < 1 << INTEGER_BITS_MAX - 1:
        raise Mistake(f"a size of {value}, which no limit can be")
    return size


def parse_cpu(value: Any) -> float:
    """Return whole seconds, which are what setrlimit(2) counts in."""
    seconds = parse_duration(value)
    if seconds != int(seconds):
        raise Mistake(f"{value} is no whole number of seconds, which are what processor time is counted in")
    return seconds


def parse_address_space(value: Any) -> int:
    """Return bytes, as many as a process needs to begin at all."""
    size = parse_size(value)
    if size < ADDRESS_SPACE_MIN:
        raise Mistake(f"{value} is too little to start anything in; write at least 64MiB")
    return size


def parse_open_files(value: Any) -> int:
    """Return how many descriptors a worker may have."""
    if type(value) is not int or not OPEN_FILES_MIN <= value <= OPEN_FILES_MAX:
        raise Mistake(f"{spoken(value)} is no number of open files; write {OPEN_FILES_MIN}..{OPEN_FILES_MAX}")
    return value


def parse_rounds(value: Any) -> int:
    """Return how often steps are to be repeated."""
    if type(value) is not int or not 1 <= value <= ROUNDS_MAX:
        raise Mistake(f"{spoken(value)} is no number of rounds; write 1..{ROUNDS_MAX}")
    return value


def parse_wanted_report(value: Any) -> Any:
    """Return the value that a report is to have, its comparisons looked at."""
    value = parse_arguments(value)
    for path, text in _texts(value):
        if (mistake := mistake_in(text)) is not None:
            raise Mistake(mistake, path)
    return value


def _texts(value: object, path: Location = ()) -> Iterator[tuple[Location, str]]:
    match value:
        case str():
            yield path, value
        case dict():
            for key, member in value.items():
                yield from _texts(member, (*path, key))
        case tuple():
            for index, member in enumerate(value):
                yield from _texts(member, (*path, index))
        case _:
            return


def parse_count(value: Any) -> int | str:
    """Return a whole number, or a comparison with one."""
    if isinstance(value, str) and (comparison := Comparison.of(value)) and mistake_in(value) is None:
        return value if isinstance(comparison.operand, (int, float)) else _no_count(value)
    return value if type(value) is int else _no_count(value)


def _no_count(value: Any) -> int:
    raise Mistake(f'{spoken(value)} is no number and compares with none; write a whole number, or as in ">=100"')


def text_schema(pattern: str, *others: dict[str, Any]) -> WithJsonSchema:
    """Return the JSON schema of text of this form, or of what a file may write in its place."""
    return WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{pattern}$"}, *others, REFERENCE_SCHEMA]})


def choice_schema(options: Iterable[str | int]) -> WithJsonSchema:
    """Return the JSON schema of one of `options`."""
    return WithJsonSchema({"anyOf": [{"enum": list(options)}, REFERENCE_SCHEMA]})


def number_schema(least: int, most: int) -> WithJsonSchema:
    """Return the JSON schema of a whole number in these bounds."""
    return WithJsonSchema({"anyOf": [{"type": "integer", "minimum": least, "maximum": most}, REFERENCE_SCHEMA]})


def one_or_more(schema: dict[str, Any]) -> WithJsonSchema:
    """Return the JSON schema of a value or a list of them."""
    return WithJsonSchema({"anyOf": [schema, {"type": "array", "items": schema}]})


def described(description: str, *examples: Any) -> FieldInfo:
    """Return what the schema says of a key: what it is for, and what may stand there."""
    return FieldInfo(description=description, examples=list(examples))


NAME_SCHEMA: Final = {"type": "string", "pattern": f"^{NAME_PATTERN}$"}
SCALAR_SCHEMA: Final = {"type": ["string", "number", "boolean"]}
DATA_SCHEMA: Final = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {
                "size": {
                    "description": "How many bytes to generate.",
                    "examples": [65536],
                    "anyOf": [{"type": "integer", "minimum": 0, "maximum": GENERATED_DATA_MAX}, REFERENCE_SCHEMA],
                }
            },
            "required": ["size"],
            "additionalProperties": False,
        },
    ]
}
EXIT_SCHEMA: Final = {
    "anyOf": [{"type": "integer", "minimum": 0, "maximum": EXIT_STATUS_MAX}, {"enum": list(SIGNALS)}, REFERENCE_SCHEMA]
}


def one_of(what: str, *options: str) -> tuple[BeforeValidator, WithJsonSchema]:
    """Return what makes text one of `options`, in the parser and in the schema."""
    return chosen_from(options, what), choice_schema(options)


Key = Annotated[str, parsed_by(parse_name), WithJsonSchema(NAME_SCHEMA)]
Name = Annotated[str, parsed_by(parse_name), text_schema(NAME_PATTERN)]
Names = Annotated[tuple[str, ...], parsed_by(parse_names), one_or_more({"anyOf": [NAME_SCHEMA, REFERENCE_SCHEMA]})]
Duration = Annotated[float, parsed_by(parse_duration), text_schema(DURATION_PATTERN)]
Seconds = Annotated[float, parsed_by(parse_cpu), text_schema("[0-9]+(s|m)")]
Size = Annotated[int, parsed_by(parse_size), text_schema(SIZE_PATTERN)]
AddressSpace = Annotated[int, parsed_by(parse_address_space), text_schema(SIZE_PATTERN)]
OpenFiles = Annotated[int, parsed_by(parse_open_files), number_schema(OPEN_FILES_MIN, OPEN_FILES_MAX)]
Rounds = Annotated[int, parsed_by(parse_rounds), number_schema(1, ROUNDS_MAX)]
Data = Annotated[bytes | int, parsed_by(parse_data), WithJsonSchema(DATA_SCHEMA)]
ErrnoName = Annotated[str, *one_of("errno", *ERRNO_NAMES)]
DescriptorKind = Annotated[str, *one_of("kind of descriptor", *DESCRIPTOR_KINDS)]
ProtocolName = Annotated[str, *one_of("protocol", *PROTOCOLS)]
ServicePort = Annotated[str, *one_of("service_port", "none", "exported", "unexported")]
Grants = Annotated[str, *one_of("way to be granted addresses", "descriptors", "messages")]
Layout = Annotated[
    str, chosen_from(tuple(LAYOUTS), "wire layout"), choice_schema([*LAYOUTS, 2010, 2013]), parsed_by(parse_layout)
]
LayerName = Annotated[str, *one_of("layer", *(layer.value for layer in Layer))]
FileMode = Annotated[str, *one_of("mode", "r", "w", "rw")]
ChannelKind = Annotated[str, *one_of("kind of channel", "connected", "data_only")]
SchemaVersion = Annotated[int, parsed_by(parse_schema), WithJsonSchema({"anyOf": [{"const": 1}, REFERENCE_SCHEMA]})]
ExitStatus = Annotated[int, parsed_by(parse_exit), WithJsonSchema(EXIT_SCHEMA)]
Scalar = Annotated[str | int | float | bool, parsed_by(parse_scalar), WithJsonSchema(SCALAR_SCHEMA)]
Wanted = Annotated[tuple[Scalar, ...], parsed_by(parse_wanted), one_or_more(SCALAR_SCHEMA)]
Program = Annotated[str, parsed_by(parse_program), text_schema(PROGRAM_PATTERN)]
Command = Annotated[
    tuple[str, ...],
    parsed_by(parse_command),
    WithJsonSchema({"type": "array", "items": SCALAR_SCHEMA, "minItems": 1}),
]
Replicas = Annotated[int, parsed_by(parse_replicas), number_schema(1, REPLICAS_MAX)]
Number = Annotated[int, parsed_by(parse_number), number_schema(FIRST_IMPORT, NUMBER_MAX)]
Ends = Annotated[
    tuple[str, str],
    parsed_by(parse_ends),
    WithJsonSchema({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}),
]
Selectors = Annotated[tuple[str, ...], parsed_by(parse_selectors), one_or_more({"type": "string"})]
Count = Annotated[
    int | str,
    parsed_by(parse_count),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string", "pattern": "^(>=|<=|==|!=|>|<)"}]}),
]
Arguments = Annotated[dict[str, Any], parsed_by(parse_arguments), WithJsonSchema({"type": "object"})]
WantedReport = Annotated[Any, parsed_by(parse_wanted_report), WithJsonSchema({})]
Variable = Annotated[str, parsed_by(parse_variable_name), WithJsonSchema({"type": "string", "pattern": "^[^=]+$"})]
VariableText = Annotated[str, parsed_by(parse_variable_text), WithJsonSchema({"type": "string"})]
Environment = dict[Variable, VariableText]


class Model(BaseModel):
    """A map with exactly these keys, of exactly these types."""

    model_config: ClassVar = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)

    @field_validator("*", mode="before")
    @classmethod
    def is_there(cls, value: Any) -> Any:
        """Refuse a key without a value: leaving out both is how to say nothing."""
        if value is None:
            raise PydanticCustomError("nothing", "nothing")
        return value
