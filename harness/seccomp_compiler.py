"""From a policy's rules to the program that the kernel runs at each system call, by libseccomp."""

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Any, Final

from harness.errors import MissingLayerError
from sandbox.confinement.policy import Action, Condition, Policy, Rule

# What libseccomp answers for a name that it does not know, on any architecture (__NR_SCMP_ERROR).
NO_CALL: Final = -1
BINARY_TREE: Final = 2
# The kernel has given out less than half of them.
NUMBERS: Final = 1024
MISSING: Final = "seccomp: libseccomp is not here (Debian: apt install libseccomp2)"


@cache
def compiled(rules: tuple[Rule, ...], listened_to: bool = False) -> bytes:
    """Return the program of these rules: calls without one fail with EPERM, foreign architectures are the end.

    `listened_to`: it is left to a listener to have them fail; b"" where this library or this kernel knows of none.
    Raises MissingLayerError where there is no libseccomp.
    """
    library = _library()
    try:
        program = library.SyscallFilter(library.NOTIFY if listened_to else library.ERRNO(errno.EPERM))
    except (OSError, RuntimeError, ValueError):
        if listened_to:
            return b""
        raise
    program.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
    # A tree, for a filter is run at each call, and for every call once when it is loaded.
    program.set_attr(library.Attr.CTL_OPTIMIZE, BINARY_TREE)
    for rule in dict.fromkeys(rules):
        if library.resolve_syscall(library.Arch.NATIVE, rule.call) < 0:
            # A call that this architecture does not have.
            continue
        conditions = [_condition(library, condition) for condition in rule.conditions]
        program.add_rule_exactly(_action(library, rule.action), rule.call, *conditions)
    memory = os.memfd_create("imclab-seccomp", os.MFD_CLOEXEC)
    with os.fdopen(memory, "rb+") as file:
        program.export_bpf(file)
        file.seek(0)
        return file.read()


def program_of(policy: Policy, rules: tuple[Rule, ...] = (), *, listened_to: bool = False) -> bytes:
    """Return the program of a policy, with more rules."""
    return compiled((*policy.rules, *rules), listened_to)


def is_call(name: str) -> bool:
    """Say whether there is a system call of this name; where there is no libseccomp, nobody knows."""
    try:
        library = _library()
    except MissingLayerError:
        return True
    return bool(library.resolve_syscall(library.Arch.NATIVE, name) != NO_CALL)


@cache
def name_of(number: int) -> str | None:
    """Return the name of the call of this number, None where there is none of it. Raises MissingLayerError."""
    return next((name for name, known in calls().items() if known == number), None)


@cache
def calls() -> Mapping[str, int]:
    """Return every call of this architecture by its name. Raises MissingLayerError."""
    library = _library()
    found = dict[str, int]()
    for number in range(NUMBERS):
        with suppress(ValueError):
            found[library.resolve_syscall(library.Arch.NATIVE, number).decode()] = number
    return found


def _library() -> Any:
    try:
        import pyseccomp  # noqa: PLC0415 - it loads libseccomp, which may not be here
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingLayerError(f"{MISSING}: {error}") from None
    return pyseccomp


def _action(library: Any, action: Action | int) -> Any:
    match action:
        case Action.ALLOW:
            return library.ALLOW
        case Action.KILL:
            return library.KILL_PROCESS
        case number:
            return library.ERRNO(number)


def _condition(library: Any, condition: Condition) -> Any:
    if condition.mask is None:
        return library.Arg(condition.argument, library.EQ, condition.value)
    return library.Arg(condition.argument, library.MASKED_EQ, condition.mask, condition.value)
