"""Runs of the benchmark's topologies, and the core that some of them share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from harness.outcome import Outcome, Status
from harness.plan import Plan
from harness.planner import only_plan_of
from harness.supervisor import supervise

TOPOLOGIES: Final = Path(__file__).parent / "topologies"


class NotMeasured(Exception):
    """This machine, as it is set up, does not let a figure be measured."""


def plan_of(name: str, **variables: Any) -> Plan:
    """Return the plan of the benchmark's topology of this name."""
    return only_plan_of(TOPOLOGIES / f"{name}.imclab.yaml", variables)


async def run_of(name: str, **variables: Any) -> Outcome:
    """Run the benchmark's topology of this name, which passes. Raises NotMeasured."""
    outcome = await supervise(plan_of(name, **variables))
    if outcome.status is Status.UNSUPPORTED:
        raise NotMeasured(outcome.reason)
    if not outcome.passed:
        ends = "".join(
            f"\n{worker.name}: {worker.stderr.text()}" for worker in outcome.workers.values() if worker.stderr.size
        )
        raise RuntimeError(f"{outcome.cell} {outcome.status}: {outcome.reason}{ends}")
    return outcome


@contextmanager
def on_one_core() -> Iterator[None]:
    """Have this process, and whatever it starts meanwhile, on one core: across cores one measures wake-ups."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
