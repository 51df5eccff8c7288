"""What workers cost that wait: the memory of one, and the supervisor's processor time for many."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from harness.bench.lines import Bound, Compared, Line, Measured, Reach
from harness.bench.multiprocess import idle_children
from harness.bench.runs import NotMeasured
from harness.bench.stand import Stand

MEMORY: Final = "memory"
# What processes share is counted in parts; among so many, hardly any of it.
SIBLINGS: Final = 100

SUPERVISOR: Final = "idle"
WORKERS: Final = 1000
WINDOWS: Final = 5
WINDOW_SECONDS: Final = 1.0


async def measure_memory() -> list[Line]:
    """Compare as many idle workers and idle children of multiprocessing. Raises NotMeasured."""
    async with Stand.of("idle", workers=SIBLINGS) as stand:
        await stand.start_all()
        ours = proportional_set_sizes(stand.pids)
    with idle_children(SIBLINGS) as pids:
        theirs = proportional_set_sizes(pids)
    what = f"memory (PSS) of an idle worker, of {SIBLINGS}"
    return [
        Compared(MEMORY, what, "multiprocessing spawn", "MiB", ours, theirs, Reach(Bound.AT_MOST, 0.25)),
        Measured(MEMORY, what, "MiB", ours, Reach(Bound.AT_MOST, 2.5)),
    ]


def proportional_set_sizes(pids: Iterable[int]) -> list[float]:
    """Return the MiB of memory that each process has, with its part of what it shares. Raises NotMeasured."""
    try:
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii") for pid in pids]
    except PermissionError as error:
        raise NotMeasured(f"{error.filename}: {error.strerror}; only root may look into workers") from None
    return [proportional_set_size(text) for text in texts]


def proportional_set_size(rollup: str) -> float:
    """Return the MiB that `rollup`, a smaps_rollup of proc(5), tells."""
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024


async def measure_supervisor() -> list[Line]:
    """Look how much of a core the supervisor needs while nothing happens."""
    async with Stand.of("idle", workers=WORKERS) as stand:
        await stand.start_all()
        shares = [await share_of_a_core() for _ in range(WINDOWS)]
    what = f"supervisor's time for {WORKERS} idle workers"
    return [Measured(SUPERVISOR, what, "% of a core", shares, Reach(Bound.BELOW, 1))]


async def share_of_a_core() -> float:
    """Return how much processor time this process takes in a while, in per cent of a core."""
    began, used = time.perf_counter(), time.process_time()
    await asyncio.sleep(WINDOW_SECONDS)
    return (time.process_time() - used) / (time.perf_counter() - began) * 100
