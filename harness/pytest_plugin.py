"""Topologies as tests: `*.imclab.yaml` files are collected, an item a cell, and `imclab` runs one from a test."""

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from harness.errors import TopologyError
from harness.launcher import warm
from harness.outcome import Outcome
from harness.plan import Plan
from harness.planner import only_plan_of, plans_of
from harness.report.kept import keep
from harness.supervisor import run_plan
from harness.topology import SUFFIX


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Iterator[None]:
    """Have all runs of a session, or of one worker of xdist's, share a launcher."""
    with warm():
        return (yield)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "TopologyFile | None":
    """Collect topology files."""
    return TopologyFile.from_parent(parent, path=file_path) if file_path.name.endswith(SUFFIX) else None


@pytest.fixture
def imclab(request: pytest.FixtureRequest) -> Callable[..., Outcome]:
    """Return `imclab(path, **variables) -> Outcome`; a path that is not here is looked up beside the test.

    Of a run that does not pass, the report and the workers' output are kept below the test's tmp_path.
    """
    runs = itertools.count()

    def run(path: str | Path, **variables: Any) -> Outcome:
        beside = request.path.parent / path
        plan = only_plan_of(beside if beside.exists() and not Path(path).exists() else Path(path), variables)
        outcome = run_plan(plan)
        number = next(runs)
        if not outcome.passed:
            folder: Path = request.getfixturevalue("tmp_path") / f"imclab-{number}"
            folder.mkdir()
            request.node.add_report_section("call", "imclab", keep(folder, plan, outcome))
        return outcome

    return run


# Of a cell's name in that of a folder; names of files have a limit.
NAME_MAX: Final = 64


class RunFailed(Exception):
    """A cell's run did not pass; the message is the report."""


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
            temporary: pytest.TempPathFactory = self.config._tmp_path_factory  # type: ignore[attr-defined]  # noqa: SLF001 - what is no function has no fixtures
            folder = temporary.mktemp(re.sub(r"\W", "_", self.name)[:NAME_MAX])
            raise RunFailed(keep(folder, self.plan, outcome))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Tell a failed run in its own words, anything else as pytest does."""
        match excinfo.value:
            case RunFailed() as failed:
                return str(failed)
            case _:
                return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Say where the cell comes from."""
        return self.path, None, self.name
