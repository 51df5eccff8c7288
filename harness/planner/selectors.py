"""What a topology means by `fe`, `fe.0`, `fe.*`, `bob.extra`, {{replica}} and {{round}}.

A worker with `replicas: 3` is three workers, fe.0 to fe.2; its bare name means none of them, and is a mistake.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from harness.plan import MAIN
from harness.planner.findings import Findings
from harness.topology.expand import NUMBERED, REPLICA, VARIABLE
from harness.topology.load import Location
from harness.topology.model import Topology
from harness.topology.values import is_name


def names_of(base: str, replicas: int | None) -> list[str]:
    """Return the names of the workers that an entry stands for."""
    return [base] if replicas is None else [f"{base}.{index}" for index in range(replicas)]


class Selectors:
    """Reads the places where a topology names workers; what they name in vain becomes a problem."""

    def __init__(self, topology: Topology, findings: Findings) -> None:
        self._replicas = {name: entry.replicas for name, entry in topology.workers.items()}
        self._findings = findings

    def workers(self, text: str, path: Location, *, at_key: bool = False) -> list[str]:
        """Return the workers that `text` selects."""
        names, rest = self._select(text, path, at_key=at_key)
        if names and rest:
            self._findings.add(path, f"{text!r} is no worker; {names[0]} is one", at_key=at_key)
            return []
        return names

    def exports(self, text: str, path: Location) -> list[tuple[str, str]]:
        """Return the workers that `text` selects, each with the name of the export, MAIN for its service port."""
        names, rest = self._select(text, path)
        if names and (len(rest) > 1 or not all(map(is_name, rest))):
            self._findings.add(path, f"{text!r} is no address; write {names[0]}, or {names[0]}.name for a later export")
            return []
        return [(name, rest[0] if rest else MAIN) for name in names]

    def numbered(self, text: str, path: Location) -> list[tuple[str, str]]:
        """Return the workers that `text` selects, each with what stands behind the last dot."""
        selector, dot, number = text.rpartition(".")
        if not dot:
            self._findings.add(path, f"{text!r} has no number; write worker.number, as in a.8")
            return []
        return [(name, number) for name in self.workers(selector, path)]

    def _select(self, text: str, path: Location, *, at_key: bool = False) -> tuple[list[str], list[str]]:
        """Return the selected workers, and what stands behind them, cut at the dots."""
        base, *rest = text.split(".")
        if not self._findings.known_worker(base, self._replicas, path, at_key=at_key, asked=text):
            return [], []
        if self._findings.is_damaged(("workers", base)):
            return ([base], []) if not rest else ([], [])
        replicas = self._replicas[base]
        index = rest[0] if rest else ""
        if replicas is None:
            if index == "*" or index.isdecimal():
                self._findings.add(path, f"{base} has no replicas; write {base}", at_key=at_key)
                return [], []
            return [base], rest
        if index == "*":
            return names_of(base, replicas), rest[1:]
        if re.fullmatch("0|[1-9][0-9]{0,8}", index) and int(index) < replicas:
            return [f"{base}.{index}"], rest[1:]
        which = f"{base}.0" if replicas == 1 else f"{base}.0 to {base}.{replicas - 1}, or {base}.* for all"
        self._findings.add(path, f"{text!r} selects no replica of {base}; write {which}", at_key=at_key)
        return [], []


def replica_of(worker: str) -> "Numbers":
    """Return what {{replica}} stands for at this worker."""
    return {REPLICA: index_of(worker)}


def index_of(worker: str) -> int | None:
    """Return a replica's own number, None for a worker that is none."""
    _, dot, index = worker.partition(".")
    return int(index) if dot else None


Numbers = Mapping[str, int | None]


def numbered(value: Any, numbers: Numbers) -> Any:
    """Return `value` with the numbers for {{replica}} and {{round}}; a value that is nothing else becomes the number.

    Raises ValueError, whose text is the name, where `numbers` has none for it; of others it says nothing.
    """
    match value:
        case dict():
            return {key: numbered(item, numbers) for key, item in value.items()}
        case tuple() | list():
            return type(value)(numbered(item, numbers) for item in value)
        case bytes():
            return numbered(f"{value.decode('latin-1')} ", numbers)[:-1].encode("latin-1")
        case str():
            return _numbered_text(value, numbers)
        case _:
            return value


def _numbered_text(text: str, numbers: Numbers) -> Any:
    def number(match: re.Match[str]) -> str:
        name = match[1]
        if name not in NUMBERED:
            return match[0]
        found = numbers.get(name)
        if found is None:
            raise ValueError(name)
        return str(found)

    whole = VARIABLE.fullmatch(text)
    inserted = VARIABLE.sub(number, text)
    return int(inserted) if whole and whole[1] in NUMBERED else inserted


def texts_numbered(words: Iterable[str], numbers: Numbers) -> tuple[str, ...]:
    """Return the words with the numbers that they ask for. Raises ValueError as `numbered` does."""
    return tuple(str(numbered(word, numbers)) for word in words)
