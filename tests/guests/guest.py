"""What each guest says of itself, and how it says what it got.

A guest is a worker that tries to break out: one file, one misbehaviour, in the folder of what it is after. It makes one
attempt and reports what it got: "success", the name of an errno, or what the attempt returned. One that is ended, or
that ends by itself, got a signal's name or "exit N"; one that broke a rule of its control channel, "offence".
"""

import errno
import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker

SUCCESS: Final = "success"
OFFENCE: Final = "offence"
GOT: Final = "got"

# The two passes that every guest is in; others are strict without one layer or more, and are called by those.
STRICT: Final = "strict"
CONTROL: Final = "control"
# A profile: strict, but that the guest may read a folder of the host's, and a device.
READER: Final = "reader"

# What stops a guest where it is no layer of the kernel's: limits of resources; the supervisor, confined or not; that
# nothing is open but what the topology lists.
LIMITS: Final = "limits"
SUPERVISOR: Final = "supervisor"
TABLE: Final = "table"
# Nothing stops it: what it tries is what whoever holds a descriptor may do.
NOTHING: Final = "nothing"


@dataclass(frozen=True, slots=True)
class Guest:
    """What stops a guest, and what it gets in each pass; "A or B" where machines differ.

    `control` is what it gets unconfined. `without` names layers, with a blank between them, that are left off of
    strict, and says what the attempt meets then. `user` has what is different, by pass, where the supervisor is an
    ordinary user; "skipped: why" where there is nothing to be seen then. `company` are the workers whose addresses it
    is granted (`company.py`), `settings` what its entry in the topology says beside, `strict_settings` where it is
    confined, `control_settings` where it is not. `machine` is the only architecture that has what it tries.
    """

    stopped_by: Layer | str
    strict: str
    control: str = SUCCESS
    without: Mapping[str, str] = field(default_factory=dict)
    user: Mapping[str, str] = field(default_factory=dict)
    company: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    strict_settings: Mapping[str, Any] = field(default_factory=dict)
    control_settings: Mapping[str, Any] = field(default_factory=dict)
    machine: str = os.uname().machine

    @property
    def is_timed(self) -> bool:
        """Whether its time is limited."""
        return "wall" in self.settings.get("limits", {}) or "wall" in self.strict_settings.get("limits", {})

    def expected(self, name: str, as_user: bool) -> str:
        """Return what the guest gets in the pass of this name."""
        if self.machine != os.uname().machine:
            return f"skipped: only {self.machine} has it"
        passes = {STRICT: self.strict, CONTROL: self.control, **self.without}
        return self.user.get(name, passes[name]) if as_user else passes[name]


def outcome_of(attempt: Callable[[], object]) -> str:
    """Make the attempt and return what it got."""
    try:
        result = attempt()
    except MemoryError:
        return "ENOMEM"
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return result if isinstance(result, str) else SUCCESS


def reported(attempt: Callable[[Worker], object]) -> Callable[[Worker], None]:
    """Make a worker's program of an attempt: it reports what it got."""

    @functools.wraps(attempt)
    def main(worker: Worker) -> None:
        worker.report(GOT, outcome_of(lambda: attempt(worker)))

    return main
