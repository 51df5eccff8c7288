"""Collects what is wrong with a cell that its model could not know."""

from collections.abc import Iterable

from harness.errors import Problem
from harness.topology import Cell
from harness.topology.load import Location
from harness.topology.mistakes import nearest
from harness.topology.model import WorkerEntry


class Findings:
    """The mistakes of one cell, found so far.

    Where the model found something wrong already, what depends on it is not looked at: no mistake is told twice.
    """

    def __init__(self, cell: Cell) -> None:
        self.problems = list[Problem]()
        self.document = cell.document
        self._damaged = cell.damaged
        sections = {path[0] for path in cell.damaged}
        self.variables_are_whole = sections.isdisjoint({"vars", "matrix"})
        self.names_are_whole = sections.isdisjoint({"workers", "kinds", "defaults", "routes", "scenario"})

    def is_damaged(self, path: Location) -> bool:
        """Say whether something harmless stands for what the file has here, or nothing does."""
        return path in self._damaged or path[:1] in self._damaged

    def is_whole(self, name: str, worker: WorkerEntry) -> bool:
        """Say whether nothing was wrong with all that makes up this worker."""
        parts = [("workers", name), ("defaults",), *([("kinds", worker.kind)] if worker.kind else [])]
        return not any(map(self.is_damaged, parts))

    def raw(self, path: tuple[str, int], key: str) -> str | None:
        """Return the text that a damaged entry has under `key`, where it is plain text."""
        entry = self.document.values[path[0]][path[1]]
        text = entry.get(key) if isinstance(entry, dict) else None
        return text if isinstance(text, str) and "{" not in text else None

    def add(self, path: Location, text: str, *, at_key: bool = False) -> None:
        """Take note of a mistake at `path`."""
        self.problems.append(self.document.problem(path, text, at_key=at_key))

    def add_once(self, path: Location, text: str, *, at_key: bool = False) -> None:
        """Take note of a mistake that several replicas, or several edges of one route, make alike."""
        problem = self.document.problem(path, text, at_key=at_key)
        if problem not in self.problems:
            self.problems.append(problem)

    def known(self, name: str, options: Iterable[str], path: Location, what: str, *, at_key: bool = False) -> bool:
        """Say whether `name` is one of `options`, and make it a problem where it is not."""
        options = list(options)
        if name not in options:
            self.add(path, f"unknown {what} {name!r}{nearest(name, options)}", at_key=at_key)
        return name in options

    def known_kind(self, name: str, kinds: Iterable[str], path: Location) -> None:
        """Make it a problem, once for all replicas, where there is no such kind."""
        kinds = list(kinds)
        if name not in kinds:
            self.add_once(path, f"unknown kind {name!r}{nearest(name, kinds)}")

    def known_profile(self, name: str, profiles: Iterable[str], path: Location) -> None:
        """Make it a problem, once for all replicas, that there is no such profile."""
        self.add_once(path, f"unknown profile {name!r}{nearest(name, profiles)}")

    def known_worker(
        self, name: str, workers: Iterable[str], path: Location, *, at_key: bool = False, asked: str | None = None
    ) -> bool:
        """Say whether `name` is a worker's, and make it a problem where the file has no such worker.

        `asked` is the whole of what the file says there.
        """
        workers = list(workers)
        if name in workers:
            return True
        if not self.is_damaged(("workers", name)):
            self.known(asked or name, workers, path, "worker", at_key=at_key)
        return False
