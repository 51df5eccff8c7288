"""How a run ended: a status, a reason, and what became of each worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from signal import Signals
from typing import Final

from harness.events import Event, Refusal
from harness.hang import Hang

END_BYTES: Final = 4 * 1024


class Status(Enum):
    """How a run ended. The order is that in which one of several cells decides the command's exit status."""

    def __init__(self, label: str, exit_code: int) -> None:
        self.label = label
        self.exit_code = exit_code

    BUG = ("bug", 70)
    INTERRUPTED = ("interrupted", 130)
    UNSUPPORTED = ("unsupported", 69)
    REFUSED = ("refused", 64)
    TIMED_OUT = ("timed out", 124)
    FAILED = ("failed", 1)
    PASSED = ("passed", 0)

    def __str__(self) -> str:
        return self.label


def worst(statuses: list[Status]) -> Status:
    """Return the status that decides for all of them; PASSED for none."""
    return min(statuses, key=list(Status).index, default=Status.PASSED)


@dataclass(frozen=True, slots=True)
class Output:
    """What a worker wrote to a pipe: the first 64 KiB, the last 4 KiB of what came then, and the size of it all."""

    kept: bytes = b""
    size: int = 0
    tail: bytes = b""

    @property
    def end(self) -> bytes:
        """The last of what it wrote, at most 4 KiB."""
        return (self.kept + self.tail)[-END_BYTES:]

    @property
    def content(self) -> bytes:
        """All that was kept, with a line that says what was not."""
        lost = self.size - len(self.kept) - len(self.tail)
        return self.kept + (f"\n… {lost} bytes more\n".encode() if lost else b"") + self.tail

    def text(self) -> str:
        """Return what was kept as text, and say what was not."""
        return self.content.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Failure:
    """The exception that ended a confined Python program, as it says itself, where a layer may be behind it.

    `error` is an errno's name and `path` the file's, or ""; or ModuleNotFoundError and the module's name.
    """

    error: str
    path: str


@dataclass(frozen=True, slots=True)
class WorkerOutcome:
    """What became of one worker. `exit_status` is -N for signal N, None where it never started or was lost.

    `layers` are those of its profile that it had, `without` those that are missing here, as its profile allows.
    `refusals` is how often its profile refused it what: each call that its list of system calls refused, told by the
    kernel where that can (`is_heard`, which it is too that ended before there was anything to hear), and what it said.
    """

    name: str
    exit_status: int | None
    stdout: Output = Output()
    stderr: Output = Output()
    reports: Mapping[str, object] = field(default_factory=dict)
    offence: str | None = None
    profile: str = "none"
    layers: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    refusals: Mapping[Refusal, int] = field(default_factory=dict)
    is_heard: bool = False
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one cell's run ended. `place` is the file:line:column of the step that decided, where there was one.

    `hang` is where the workers were when a deadline passed, None where none did.
    """

    cell: str
    status: Status
    reason: str
    workers: Mapping[str, WorkerOutcome]
    events: tuple[Event, ...]
    place: str | None = None
    seconds: float = 0.0
    hang: Hang | None = None

    @property
    def passed(self) -> bool:
        """Whether everything was as the topology expects."""
        return self.status is Status.PASSED


def describe_exit(exit_status: int | None) -> str:
    """Return an exit status in words: "exited with 3", "was ended by SIGKILL"."""
    if exit_status is None:
        return "was lost"
    if exit_status >= 0:
        return f"exited with {exit_status}"
    try:
        return f"was ended by {Signals(-exit_status).name}"
    except ValueError:
        return f"was ended by signal {-exit_status}"
