"""How long it takes to start a process: a strictly confined worker, beside what starts processes otherwise.

All are asked for from the same process, warm, one after the other: the zygote and the forkserver are there already, and
what they load is loaded. So is the fork that becomes the worker: it was made, and its layers put on, while a peer had
its turn, as it is while a topology does something else than to start workers. Ours is done when the worker announces
itself, a native one when it has ended; a peer when it has ended, which with multiprocessing is what its users write.

What all of it takes, whoever waits for it or not, is told beside it: workers to their ends, one right after the other.
"""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from statistics import median
from typing import Final

from harness.bench.lines import Bound, Compared, Line, Reach, Told
from harness.bench.multiprocess import nobody_interrupted, script
from harness.bench.rounds import Attempt, taking_turns
from harness.bench.stand import Stand

FIGURE: Final = "start"
PYTHON: Final = "strict Python worker, until ready"
NATIVE: Final = "strict /bin/true, until its end"
FORKSERVER: Final = "multiprocessing forkserver"
SPAWN: Final = "multiprocessing spawn"
BWRAP: Final = "bwrap --unshare-all /bin/true"
SEL_LDR: Final = "sel_ldr, to the first message"
IN_A_ROW: Final = "strict Python worker, to its end, in a row"
BWRAP_IN_A_ROW: Final = f"{BWRAP}, in a row"

ROUNDS: Final = 7
TURNS: Final = 10
ROW: Final = 10
BUBBLEWRAP: Final = ("--unshare-all", "--ro-bind", "/", "/", "/bin/true")


async def measure() -> list[Line]:
    """Start workers and peers in turn."""
    bubblewrap = shutil.which("bwrap")
    async with (
        Stand.of("start", kind="python", workers=1 + ROUNDS * (TURNS + ROW)) as python,
        Stand.of("start", kind="native", workers=1 + ROUNDS * TURNS) as native,
    ):
        with script() as main:
            attempts: dict[str, Attempt] = {
                PYTHON: lambda: until_ready(python),
                FORKSERVER: lambda: by_multiprocessing(get_context("forkserver").Process(target=main.nothing)),
                NATIVE: lambda: until_its_end(native),
                SPAWN: lambda: by_multiprocessing(get_context("spawn").Process(target=main.nothing)),
            }
            if bubblewrap is not None:
                attempts[BWRAP] = lambda: by_bubblewrap(bubblewrap)
            # The first of each has to load what the others find there.
            await taking_turns(attempts, rounds=1, turns=1)
            taken = await taking_turns(attempts, ROUNDS, TURNS)
        if bubblewrap is not None:
            rows: dict[str, Attempt] = {
                IN_A_ROW: lambda: workers_in_a_row(python),
                BWRAP_IN_A_ROW: lambda: bubblewraps_in_a_row(bubblewrap),
            }
            taken |= await taking_turns(rows, ROUNDS, turns=1)
    return lines_of(taken)


def lines_of(taken: Mapping[str, Sequence[float]]) -> list[Line]:
    """Return what the rounds, by what was started, come to; without those of bubblewrap where there is none."""

    def compared(what: str, peer: str, at_most: float) -> Line:
        if peer not in taken:
            return Told(FIGURE, what, peer, "not installed")
        return Compared(FIGURE, what, peer, "ms", taken[what], taken[peer], Reach(Bound.AT_MOST, at_most))

    return [
        compared(PYTHON, FORKSERVER, 0.4),
        compared(PYTHON, SPAWN, 0.08),
        compared(PYTHON, BWRAP, 0.8),
        Told(FIGURE, PYTHON, SEL_LDR, "2.3 to 4.4 ms where it was measured; it is not here to run"),
        in_a_row(taken),
        compared(NATIVE, BWRAP, 1.1),
    ]


def in_a_row(taken: Mapping[str, Sequence[float]]) -> Told:
    """Return what workers and bubblewraps took one right after the other."""
    if IN_A_ROW not in taken:
        return Told(FIGURE, IN_A_ROW, BWRAP, "not installed")
    ours, theirs = median(taken[IN_A_ROW]), median(taken[BWRAP_IN_A_ROW])
    return Told(FIGURE, IN_A_ROW, BWRAP, f"{ours:.3g} ms each, beside {theirs:.3g} ms")


async def workers_in_a_row(stand: Stand) -> float:
    """Return the milliseconds that each of them takes."""
    began = time.perf_counter()
    for _ in range(ROW):
        await until_its_end(stand)
    return since(began) / ROW


def bubblewraps_in_a_row(file: str) -> float:
    """Return the milliseconds that each of them takes."""
    began = time.perf_counter()
    for _ in range(ROW):
        by_bubblewrap(file)
    return since(began) / ROW


async def until_ready(stand: Stand) -> float:
    """Return the milliseconds from the request for a worker to its announcement."""
    began = time.perf_counter()
    member = await stand.start_one()
    taken = since(began)
    await member.exited()
    return taken


async def until_its_end(stand: Stand) -> float:
    """Return the milliseconds from the request for a worker to the news of its end."""
    began = time.perf_counter()
    member = await stand.start_one()
    await member.exited()
    return since(began)


def by_multiprocessing(process: BaseProcess) -> float:
    """Return the milliseconds that it takes from its start to its end."""
    began = time.perf_counter()
    with nobody_interrupted():
        process.start()
    process.join()
    return since(began)


def by_bubblewrap(file: str) -> float:
    """Return the milliseconds that bubblewrap takes from its execution to its end."""
    began = time.perf_counter()
    os.waitpid(os.posix_spawn(file, (file, *BUBBLEWRAP), {}), 0)
    return since(began)


def since(began: float) -> float:
    """Return how many milliseconds ago that was."""
    return (time.perf_counter() - began) * 1000
