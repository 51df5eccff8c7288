"""Runs the experiments, and puts the answers together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.compare.properties import PROPERTIES, Property
from harness.compare.seen import Answer, Seen
from harness.compare.settings import Settings
from harness.errors import UsageError
from harness.outcome import Outcome, Status
from harness.plan import Plan
from harness.planner import plans_of
from harness.report.text import account, repeat
from harness.supervisor import supervise_all
from harness.topology import SUFFIX
from harness.topology.mistakes import nearest
from sandbox.protocols import PROTOCOLS

EXPERIMENTS: Final = Path(__file__).parents[2] / "configs" / "compare"

Run = tuple[Plan, Outcome]


@dataclass(frozen=True, slots=True)
class Cell:
    """One property of one protocol: the answer, how its experiment ended, what happened in it, how to run it alone."""

    answer: Answer
    status: Status
    account: str
    command: str

    @property
    def shown(self) -> str:
        """The answer, with the settings that it depends on."""
        return shown(self.answer.text, self.answer.depends_on)


@dataclass(frozen=True, slots=True)
class Row:
    """One property of all protocols, by name."""

    property: Property
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class Table:
    """The answers, and of which kernel with which settings they are."""

    kernel: str
    settings: Settings
    rows: Sequence[Row]


def shown(text: str, depends_on: Mapping[str, int]) -> str:
    """Return an answer with the settings that it depends on."""
    settings = ", ".join(f"{name} = {value}" for name, value in depends_on.items())
    return f"{text} ({settings})" if settings else text


def chosen(name: str | None) -> Sequence[Property]:
    """Return the property of this name, or all of them. Raises UsageError where there is none."""
    found = [one for one in PROPERTIES if name in (None, one.name)]
    if not found:
        names = [one.name for one in PROPERTIES]
        near = nearest(name, names)
        raise UsageError(f"no property {name!r}{near}; the properties are {', '.join(names)}")
    return found


def experiments(properties: Iterable[Property]) -> list[Plan]:
    """Return the plans of all that has to run, each once. Raises UsageError, TopologyError."""
    files = {one.experiment: topology(one) for one in properties}
    if not EXPERIMENTS.is_dir():
        raise UsageError(f"{EXPERIMENTS} is not there: compare runs the topologies of a checkout")
    return [plan for file in files.values() for plan in plans_of(file)]


def topology(one: Property) -> Path:
    """Return the experiment's file, as whoever stands here would write it."""
    file = EXPERIMENTS / f"{one.experiment}{SUFFIX}"
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file


async def run_all(plans: Sequence[Plan], jobs: int) -> list[Run]:
    """Run the experiments, `jobs` of them at a time."""
    runs = list[Run]()
    await supervise_all(plans, jobs, lambda plan, outcome: runs.append((plan, outcome)))
    return runs


def table_of(properties: Iterable[Property], runs: Iterable[Run], kernel: str, settings: Settings) -> Table:
    """Return the answers that the runs give. Pure."""
    by_point = {point_of(plan): (plan, outcome) for plan, outcome in runs}
    rows = [
        Row(
            one,
            {
                protocol: cell_of(one, *by_point[one.experiment, protocol, one.facets], settings)
                for protocol in PROTOCOLS
            },
        )
        for one in properties
    ]
    return Table(kernel, settings, rows)


def point_of(plan: Plan) -> tuple[str, str, bool | None]:
    """Return which experiment this is of which protocol, and with or without facets where it has both."""
    return Path(plan.file).name.removesuffix(SUFFIX), plan.axes["protocol"], plan.axes.get("facets")


def cell_of(one: Property, plan: Plan, outcome: Outcome, settings: Settings) -> Cell:
    """Return what a run says of a property."""
    if not outcome.passed:
        answer = Answer(f"? {outcome.status}", {"reason": outcome.reason})
    elif plan.is_refused:
        answer = Answer(one.refused, {"refused": outcome.reason})
    else:
        answer = one.read(Seen(plan, outcome, settings))
    return Cell(answer, outcome.status, account(plan, outcome), repeat(plan))
