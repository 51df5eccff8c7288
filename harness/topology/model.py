"""What a topology file may say: the one source of the parser (and of what it calls a mistake)."""

import errno
import re
import signal
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator
from pydantic_core import PydanticCustomError

from harness.topology.load import Location, spoken
from sandbox.abi import DESCRIPTORS_MAX, FIRST_IMPORT, USER_BYTES_MAX
from sandbox.protocols import PROTOCOLS

# A step's bytes travel to the worker in one message of the control channel, as base64 within JSON.
INLINE_DATA_MAX: Final = 64 * 1024
# Enough to show that one byte too many is refused, and no way to ask a worker for all of its memory.
GENERATED_DATA_MAX: Final = 16 * 1024 * 1024
EXIT_STATUS_MAX: Final = 255
REPLICAS_MAX: Final = 10_000
# What a worker's limit on open files leaves room for.
NUMBER_MAX: Final = 999
CHANNEL_ENDS: Final = 2
RUN_SECONDS: Final = 60.0
STEP_SECONDS: Final = 5.0

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
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m)", value) if isinstance(value, str) else None
    if match is None:
        raise Mistake(f"{spoken(value)} is no duration; write a number and ms, s or m, as in 5s")
    seconds = float(match[1]) * {"ms": 0.001, "s": 1, "m": 60}[match[2]]
    if not seconds:
        raise Mistake("a duration of 0 would pass at once")
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
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", value))


def parse_program(value: Any) -> str:
    """Return a program's "package.module:function"."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", value):
        raise Mistake(f"{spoken(value)} is no program; write package.module:function")
    return value


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


def parse_wanted(value: Any) -> Any:
    """Return a tuple of values from one value or a list."""
    return value if isinstance(value, tuple) else (value,)


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


Name = Annotated[str, parsed_by(parse_name)]
Names = Annotated[tuple[str, ...], parsed_by(parse_names)]
Duration = Annotated[float, parsed_by(parse_duration)]
Data = Annotated[bytes | int, parsed_by(parse_data)]
ErrnoName = Annotated[str, chosen_from(ERRNO_NAMES, "errno")]
DescriptorKind = Annotated[str, chosen_from(DESCRIPTOR_KINDS, "kind of descriptor")]
ExitStatus = Annotated[int, parsed_by(parse_exit)]
Scalar = Annotated[str | int | float | bool, parsed_by(parse_scalar)]
Wanted = Annotated[tuple[Scalar, ...], parsed_by(parse_wanted)]
Command = Annotated[tuple[str, ...], parsed_by(parse_command)]
Number = Annotated[int, parsed_by(parse_number)]
Ends = Annotated[tuple[str, str], parsed_by(parse_ends)]
Arguments = Annotated[dict[str, Any], parsed_by(parse_arguments)]
Environment = dict[Annotated[str, parsed_by(parse_variable_name)], Annotated[str, parsed_by(parse_variable_text)]]


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


class Within(Model):
    """How long something may take."""

    within: Duration


class Inherit(Model):
    """A host's file at a descriptor of the worker's, as sel_ldr's -r, -w and -h D:d."""

    descriptor: Number
    file: str
    mode: Annotated[str, chosen_from(("r", "w", "rw"), "mode")]
    as_: Name | None = Field(default=None, alias="as")


class WorkerSettings(Model):
    """What `defaults`, a kind and a worker may say; the nearer one wins, maps are merged, lists are not."""

    program: Annotated[str, parsed_by(parse_program)] | None = None
    command: Command | None = None
    protocol: Annotated[str, chosen_from(tuple(PROTOCOLS), "protocol")] | None = None
    service_port: Annotated[str, chosen_from(("none", "exported", "unexported"), "service_port")] | None = None
    grants: Annotated[str, chosen_from(("descriptors", "messages"), "way to be granted addresses")] | None = None
    facets: bool | None = None
    inherit: tuple[Inherit, ...] | None = None
    args: Arguments = Field(default_factory=dict)
    env: Environment = Field(default_factory=dict)
    ready: Within | None = None
    stop: Within | None = None


class WorkerEntry(WorkerSettings):
    """One worker."""

    kind: str | None = None
    replicas: Annotated[int, parsed_by(parse_replicas)] | None = None


class Route(Model):
    """`grant`'s address goes to `to`, which imports it as `as` (what `grant` says unless said).

    Without `facets` the address itself is granted; `pair` joins the replicas of equal index.
    """

    grant: str
    to: str
    as_: Name | None = Field(default=None, alias="as")
    pair: bool = False
    facets: bool | None = None


class Channel(Model):
    """A pair of sockets, an end at each of two descriptors `worker.number`, as sel_ldr's -i."""

    between: Ends
    kind: Annotated[str, chosen_from(("connected", "data_only"), "kind of channel")] = "connected"
    as_: Name | None = Field(default=None, alias="as")


class ExpectResult(Model):
    """Success, unless an error is named; then that errno and nothing else."""

    error: ErrnoName | None = None


class ExpectSent(ExpectResult):
    """How many bytes imc_sendmsg said that it sent."""

    sent: int | None = None


class ExpectMessage(ExpectResult):
    """What imc_recvmsg received."""

    data: Data | None = None
    descriptors: tuple[DescriptorKind, ...] | None = None
    flags: int | None = None


class Conditional(Model):
    """What every step may say: it exists only in the cells whose axes have these values."""

    when: dict[str, Wanted] = Field(default_factory=dict)


class WorkerStep(Conditional):
    """A step that a worker performs."""

    at: str
    do: str
    within: Duration = STEP_SECONDS
    expect: ExpectResult = ExpectResult()


class MakeBoundSock(WorkerStep):
    """imc_makeboundsock, held as [BoundSocket, SocketAddress]."""

    as_: Names = Field(default=(), alias="as", max_length=2)


class Accept(WorkerStep):
    """imc_accept on the service port, or on `bound`."""

    bound: str = "bound_socket"
    as_: Names = Field(default=(), alias="as", max_length=1)


class Connect(WorkerStep):
    """imc_connect to `address`."""

    address: str
    as_: Names = Field(default=(), alias="as", max_length=1)


class SendMsg(WorkerStep):
    """imc_sendmsg on `socket`."""

    socket: str
    data: Data = b""
    descriptors: tuple[str, ...] = Field(default=(), max_length=NAMED_DESCRIPTORS_MAX)
    nonblock: bool = False
    expect: ExpectSent = ExpectSent()


class RecvMsg(WorkerStep):
    """imc_recvmsg on `socket`."""

    socket: str
    size: int = USER_BYTES_MAX
    max_descriptors: int = DESCRIPTORS_MAX
    nonblock: bool = False
    as_: Names = Field(default=(), alias="as", max_length=DESCRIPTORS_MAX)
    expect: ExpectMessage = ExpectMessage()


class SocketPair(WorkerStep):
    """imc_socketpair, held as [DataOnlySocket, DataOnlySocket]."""

    as_: Names = Field(default=(), alias="as", max_length=2)


class MemObjCreate(WorkerStep):
    """imc_mem_obj_create of `size` bytes."""

    size: int = 65536
    as_: Names = Field(default=(), alias="as", max_length=1)


class Export(WorkerStep):
    """Offer `address` to whoever a route grants it as worker.name."""

    address: str
    name: Name


class Close(WorkerStep):
    """Close what `descriptor` names."""

    descriptor: str


class Kill(Conditional):
    """SIGKILL for a worker; ends when it is reaped."""

    kill: str
    within: Duration = STEP_SECONDS


class Barrier(Conditional):
    """What follows begins when everything above has ended; the name is for the reader."""

    barrier: str


class ExpectedEnds(Model):
    """With what each worker is to exit: 0..255 or a signal. Who is not named: 0."""

    exit: dict[str, ExitStatus]


class Expect(Conditional):
    """What has to be true of the run."""

    expect: ExpectedEnds


OPERATIONS: Final[dict[str, type[WorkerStep]]] = {
    "makeboundsock": MakeBoundSock,
    "accept": Accept,
    "connect": Connect,
    "sendmsg": SendMsg,
    "recvmsg": RecvMsg,
    "socketpair": SocketPair,
    "mem_obj_create": MemObjCreate,
    "export": Export,
    "close": Close,
}


# The steps that are at no worker, by the key that says what they are.
UNATTACHED: Final = ("kill", "barrier", "expect")


def kind_of_step(value: Any) -> str | None:
    """Return the tag of a step: what it does at a worker, or one of UNATTACHED."""
    if not isinstance(value, dict):
        return None
    if "do" in value or "at" in value:
        do = value.get("do")
        return do if isinstance(do, str) and do in OPERATIONS else "unknown"
    return next((key for key in UNATTACHED if key in value), None)


Step = Annotated[
    Annotated[MakeBoundSock, Tag("makeboundsock")]
    | Annotated[Accept, Tag("accept")]
    | Annotated[Connect, Tag("connect")]
    | Annotated[SendMsg, Tag("sendmsg")]
    | Annotated[RecvMsg, Tag("recvmsg")]
    | Annotated[SocketPair, Tag("socketpair")]
    | Annotated[MemObjCreate, Tag("mem_obj_create")]
    | Annotated[Export, Tag("export")]
    | Annotated[Close, Tag("close")]
    | Annotated[Kill, Tag("kill")]
    | Annotated[Barrier, Tag("barrier")]
    | Annotated[Expect, Tag("expect")],
    Discriminator(kind_of_step),
]


class Topology(Model):
    """One cell of a topology file, its variables expanded."""

    schema_: Annotated[int, parsed_by(parse_schema)] = Field(alias="schema")
    name: Name
    vars: dict[Name, Scalar] = Field(default_factory=dict)
    matrix: dict[Name, tuple[Scalar, ...]] = Field(default_factory=dict)
    defaults: WorkerSettings = WorkerSettings()
    kinds: dict[Name, WorkerSettings] = Field(default_factory=dict)
    workers: dict[Name, WorkerEntry] = Field(min_length=1)
    routes: tuple[Route, ...] = ()
    channels: tuple[Channel, ...] = ()
    scenario: tuple[Step, ...] | None = None
    within: Duration = RUN_SECONDS
