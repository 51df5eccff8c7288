"""How long the whole test suite takes, in an environment that was built before. It takes longer than all else."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Final

import harness
from harness.bench.lines import Bound, Line, Measured, Reach, Told
from harness.bench.runs import NotMeasured
from harness.waiting import readable

FIGURE: Final = "suite"
WHAT: Final = "make test-sandbox"
SECONDS_MAX: Final = 1800.0
STOP_SECONDS: Final = 20.0
CHECKOUT: Final = Path(harness.__file__).resolve().parent.parent
NOT_ASKED_FOR: Final = Told(FIGURE, WHAT, "", "not measured: say --suite")


async def measure() -> list[Line]:
    """Run it once. Raises NotMeasured where there is no checkout, or a test fails."""
    if not (CHECKOUT / "Makefile").exists():
        raise NotMeasured("there is no checkout with tests here")
    command = ["make", "--silent", "-C", str(CHECKOUT), "test-sandbox"]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        status = await status_of(command, said)
        seconds = time.perf_counter() - began
        said.seek(0)
        # pytest's last line counts what failed.
        *_, last = said.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
    if status:
        raise NotMeasured(f"{WHAT} failed: {last.strip('= ')}")
    return [Measured(FIGURE, WHAT, "s", [seconds], Reach(Bound.AT_MOST, 90))]


async def status_of(command: list[str], said: IO[bytes]) -> int:
    """Run the command, whose output goes to `said`, and return its exit status; end it where we are interrupted."""
    quiet = subprocess.DEVNULL
    # Started as the zygote is: a start that is interrupted leaves nothing that nobody knows of.
    with subprocess.Popen(command, stdout=said, stderr=quiet, start_new_session=True) as process:  # noqa: ASYNC220
        pidfd = os.pidfd_open(process.pid)
        try:
            await readable(pidfd, SECONDS_MAX)
        finally:
            os.close(pidfd)
            if process.poll() is None:
                # As ^C: by SIGTERM, pytest would leave what its fixtures have made.
                os.killpg(process.pid, signal.SIGINT)
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
    return process.returncode
