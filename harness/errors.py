"""What can go wrong before a run has an outcome, by who has to act.

    HarnessError
    ├── TopologyError       the user's mistakes in a topology file, all of them, each with its place   (exit 64)
    ├── UsageError          the user's mistake on the command line                                     (exit 64)
    └── MissingLayerError   the kernel lacks what was asked for                                        (exit 69)

Anything else that is raised is a bug of ours, and shows its traceback (exit 70). What workers do wrong is no
exception but an `Outcome`.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class HarnessError(Exception):
    """Something other than our own code has to change."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: where (line and column count from 1), what is wrong, and what would be right."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.text}"


class TopologyError(HarnessError):
    """A topology file that cannot be run. `problems` are all of its mistakes, in the file's order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type["TopologyError"], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class UsageError(HarnessError):
    """A command line that cannot be obeyed."""


class MissingLayerError(HarnessError):
    """The kernel or its settings lack a layer that the topology requires."""
