"""From a topology's cell to the plan of its run. Pure, but for a look at the files and executables that it names.

Whatever can be known to be wrong before anything starts is found here, all of it at once.

    conditions.py   which cells a part is about
    selectors.py    what a name such as fe.* means
    profiles.py     what confines whom
    workers.py      programs, settings, descriptor tables
    routes.py       grants and channels
    steps.py        the scenario
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn

from harness.errors import Problem, TopologyError
from harness.plan import Plan
from harness.planner.conditions import holds
from harness.planner.findings import Findings
from harness.planner.profiles import Profiles
from harness.planner.routes import Routes, channel_ends
from harness.planner.selectors import Selectors
from harness.planner.steps import Scenario
from harness.planner.workers import drafts_of, refusals, worker_plan
from harness.topology import Cell, read
from sandbox.confinement.policy import Policy

# What is planned before anything starts takes memory, and time that no deadline counts.
WORKERS_MAX: Final = 20_000

__all__ = ["only_plan_of", "plans_of", "profiles_of"]


def plans_of(file: Path, chosen: Mapping[str, Any] | None = None) -> list[Plan]:
    """Return the plan of each cell of `file` that has the `chosen` values on its axes; they also replace variables.

    Raises TopologyError with all that is wrong with the file.
    """
    chosen = chosen or {}
    cells, problems = read(file, chosen)
    plans = []
    workers = sum(entry.replicas or 1 for cell in cells for entry in cell.topology.workers.values())
    if workers > WORKERS_MAX:
        return _too_many(cells[0], workers)
    for cell in cells:
        findings = Findings(cell)
        plans.append(_plan(cell, chosen, findings))
        problems += findings.problems
    if problems:
        raise TopologyError(_once(problems))
    return plans


def profiles_of(file: Path) -> Mapping[str, Policy]:
    """Return the policy of each profile that workers of `file` may name, as it is in the first cell.

    Raises TopologyError with all that is wrong with the file.
    """
    plans_of(file)
    cell = read(file)[0][0]
    return Profiles(cell.topology, cell.folder, Findings(cell)).policies


def _too_many(cell: Cell, workers: int) -> NoReturn:
    text = f"{workers} workers in all cells together; there can be {WORKERS_MAX}"
    raise TopologyError([cell.document.problem(("workers",), text)])


def _once(problems: Iterable[Problem]) -> list[Problem]:
    """Return each mistake once, where several cells made it and only the advice behind the semicolon differs."""
    return list({replace(problem, text=problem.text.partition(";")[0]): problem for problem in problems}.values())


def only_plan_of(file: Path, chosen: Mapping[str, Any]) -> Plan:
    """Return the plan of the one cell that `chosen` leaves. Raises TopologyError where it leaves several."""
    plans = plans_of(file, chosen)
    if len(plans) > 1:
        axes = ", ".join(axis for axis in plans[0].axes if axis not in chosen)
        raise TopologyError([Problem(str(file), 1, 1, f"a matrix of {len(plans)} cells; choose one by {axes}")])
    return plans[0]


def _plan(cell: Cell, chosen: Mapping[str, Any], findings: Findings) -> Plan:
    topology = cell.topology
    selectors = Selectors(topology, findings)
    drafts = drafts_of(cell, findings)
    routes = Routes(topology, drafts, selectors, findings)
    ends, channels = channel_ends(topology, drafts, selectors, findings)
    workers = {
        name: worker_plan(draft, routes.grants[name], ends[name], routes.exports[name], findings)
        for name, draft in drafts.items()
    }
    scenario = Scenario(cell, workers, selectors, findings)
    scenario.plan(topology.scenario or ())
    return Plan(
        cell=cell.id,
        file=cell.document.file,
        folder=cell.folder,
        axes={axis: cell.variables[axis] for axis in cell.axes},
        replaced={name: value for name, value in chosen.items() if name not in cell.axes},
        workers=workers,
        channels=channels,
        stages=None if topology.scenario is None else tuple(scenario.stages),
        exits=scenario.exits,
        refusals=(*refusals(drafts.values()), *routes.refusals),
        is_refused=_is_refused(cell, findings),
        within=topology.within,
    )


def _is_refused(cell: Cell, findings: Findings) -> bool:
    """Say whether the file expects that this cell is refused."""
    sound = [(("refused", index), wanted) for index, wanted in enumerate(cell.topology.refused)]
    # All of them are looked at, for mistakes.
    expected = [holds(wanted, path, cell, findings) for path, wanted in sound if not findings.is_damaged(path)]
    return any(expected)
