"""Topologies as tests: `*.imclab.yaml` files are collected, an item a cell, and `imclab` runs one from a test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import TopologyError
from harness.outcome import Outcome
from harness.plan import Plan
from harness.planner import plans_of
from harness.report.text import failure
from harness.supervisor import run_plan, run_topology
from harness.topology import SUFFIX


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "TopologyFile | None":
    """Collect topology files."""
    return TopologyFile.from_parent(parent, path=file_path) if file_path.name.endswith(SUFFIX) else None


@pytest.fixture
def imclab(request: pytest.FixtureRequest) -> Callable[..., Outcome]:
    """Return `imclab(path, **variables) -> Outcome`; a path that is not here is looked up beside the test."""

    def run(path: str | Path, **variables: Any) -> Outcome:
        beside = request.path.parent / path
        return run_topology(beside if beside.exists() and not Path(path).exists() else path, **variables)

    return run


class RunFailed(Exception):
    """A cell's run did not pass."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class TopologyFile(pytest.File):
    """One topology file."""

    def collect(self) -> Iterator["TopologyItem"]:
        """Return an item for each cell."""
        try:
            plans = plans_of(self.path)
        except TopologyError as error:
            raise self.CollectError(str(error)) from None
        for plan in plans:
            yield TopologyItem.from_parent(self, name=plan.cell, plan=plan)


class TopologyItem(pytest.Item):
    """One cell: passes where its run does."""

    def __init__(self, *, plan: Plan, **rest: Any) -> None:
        super().__init__(**rest)
        self.plan = plan

    def runtest(self) -> None:
        """Run the cell."""
        outcome = run_plan(self.plan)
        if not outcome.passed:
            raise RunFailed(outcome)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Tell a failed run in its own words, anything else as pytest does."""
        match excinfo.value:
            case RunFailed(outcome=outcome):
                return failure(self.plan, outcome)
            case _:
                return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Say where the cell comes from."""
        return self.path, None, self.name
