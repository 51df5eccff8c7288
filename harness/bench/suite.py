"""How long the whole test suite takes, in an environment that was built before. It takes longer than all else."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Final

import harness
from harness.bench.lines import Bound, Line, Measured, Reach, Told
from harness.bench.runs import NotMeasured

FIGURE: Final = "suite"
WHAT: Final = "make test-sandbox"
CHECKOUT: Final = Path(harness.__file__).resolve().parent.parent
NOT_ASKED_FOR: Final = Told(FIGURE, WHAT, "", "not measured: say --suite")


async def measure() -> list[Line]:
    """Run it once. Raises NotMeasured where there is no checkout, or a test fails."""
    if not (CHECKOUT / "Makefile").exists():
        raise NotMeasured("there is no checkout with tests here")
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *("make", "--silent", "-C", str(CHECKOUT), "test-sandbox"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        os.killpg(process.pid, signal.SIGTERM)
        await process.wait()
        raise
    if status:
        raise NotMeasured(f"{WHAT} failed with {status}")
    return [Measured(FIGURE, WHAT, "s", [time.perf_counter() - began], Reach(Bound.AT_MOST, 90))]
