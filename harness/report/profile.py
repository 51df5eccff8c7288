"""What a profile is, for a reader: its layers, its limits, and what becomes of each system call."""

import errno
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from textwrap import wrap
from typing import Final

from harness.confinement import WHAT
from harness.scenario import printable
from sandbox.confinement.policy import NATIVE, PROFILES, Action, Condition, Layer, Policy, Rule, in_their_order

WIDTH: Final = 120
INDENT: Final = "  "
READ_BY_PYTHON: Final = "the standard library and its own module or package"
READ_BY_NATIVE: Final = "itself and the system's libraries"


def portrait(policy: Policy) -> str:
    """Return all that a profile is, and what one's own changes of the one that it is made of."""
    return "\n".join(_portrait(policy))


def _portrait(policy: Policy) -> Iterator[str]:
    yield printable(policy.name)
    yield from (f"{INDENT}{line}" for line in changed(policy))
    yield "layers" if policy.layers else "layers: none"
    width = max((len(layer.value) for layer in policy.layers), default=0)
    for layer in in_their_order(policy.layers):
        missing = ", may be missing" if layer in policy.allow_missing else ""
        yield f"{INDENT}{layer.value:<{width}}  {WHAT[layer]}{missing}"
    if {Layer.EMPTY_ROOT, Layer.LANDLOCK} & policy.layers:
        yield f"a Python program may read {READ_BY_PYTHON}; a native one {READ_BY_NATIVE}"
    yield f"limits, where a worker says no others: {limits_told(policy) or 'none'}"
    if Layer.SECCOMP not in policy.layers:
        yield "system calls: all"
        return
    yield "system calls that are allowed"
    yield from _listed(_plainly(policy.rules))
    yield "allowed where the arguments, counted from 0, are"
    yield from _by_argument(policy.rules, Action.ALLOW)
    yield "to a native program beside"
    yield from _listed(_plainly(NATIVE) - _plainly(policy.rules))
    yield from _by_argument(NATIVE, Action.ALLOW)
    for number in sorted({rule.action for rule in policy.rules if isinstance(rule.action, int)}):
        yield f"that fail with {errno.errorcode[number]}"
        yield from _listed(rule.call for rule in policy.rules if rule.action == number and not rule.conditions)
        yield from _by_argument(policy.rules, number)
    yield "that end the process (SIGSYS)"
    yield from _listed(rule.call for rule in policy.rules if rule.action is Action.KILL)
    yield "all others fail with EPERM, and are told in the report of a run"


def changed(policy: Policy) -> Iterator[str]:
    """Yield what a profile of one's own changes of the one that it is made of."""
    if policy.base:
        yield f"made of {policy.base}"
    if left_off := PROFILES[policy.base].layers - policy.layers if policy.base else ():
        yield f"without {', '.join(layer.value for layer in in_their_order(left_off))}"
    if not policy.refuses:
        yield "refuse false"
    if policy.allow_missing:
        yield f"allow_missing {', '.join(layer.value for layer in in_their_order(policy.allow_missing))}"
    if policy.readable:
        yield f"readable {', '.join(map(printable, policy.readable))}"
    if policy.allowed:
        yield f"allow {', '.join(policy.allowed)}"


def limits_told(policy: Policy) -> str:
    """Return the limits of a worker that says no others, "" for none."""
    return ", ".join(f"{name} {value}" for name, value in {**policy.limits, **policy.late_limits}.items())


def _plainly(rules: Iterable[Rule]) -> set[str]:
    """Return the calls that are allowed whatever their arguments."""
    return {rule.call for rule in rules if rule.action is Action.ALLOW and not rule.conditions}


def _listed(calls: Iterable[str]) -> Iterator[str]:
    text = ", ".join(sorted(calls))
    yield from wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False)


def _by_argument(rules: Iterable[Rule], action: Action | int) -> Iterator[str]:
    """Yield each call that has this action by its arguments, those that differ in one value in one line."""
    conditional = [rule for rule in rules if rule.action == action and rule.conditions]
    for call, alike in groupby(sorted(conditional, key=attrgetter("call")), key=attrgetter("call")):
        for _, way in groupby(alike, key=_but_the_last_value):
            *others, last = zip(*(rule.conditions for rule in way), strict=True)
            told = [_condition(same[0], ()) for same in others] + [_condition(last[0], last)]
            yield from wrap(f"{call}: {', '.join(told)}", WIDTH, initial_indent=INDENT, subsequent_indent=2 * INDENT)


def _but_the_last_value(rule: Rule) -> tuple[tuple[Condition, ...], int, int | None]:
    last = rule.conditions[-1]
    return rule.conditions[:-1], last.argument, last.mask


def _condition(condition: Condition, alike: tuple[Condition, ...]) -> str:
    """Return what an argument has to be: this value, or one of those of conditions that are alike."""
    mask = "" if condition.mask is None else f" & {condition.mask:#x}"
    values = " or ".join(f"{one.value:#x}" for one in alike or (condition,))
    return f"{condition.argument}{mask} is {values}"
