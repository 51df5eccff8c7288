"""The Python stack of a worker: it is asked by a signal, and faulthandler answers on its stderr, whatever it waits in.

What arrives there in this short while is read apart, and what is no line of a stack is given back as the worker's own
output. Only who has the handler is asked: the signal ends a program that was executed in the worker's place.
"""

import asyncio
import re
import signal
import time
from typing import Final

from harness.capture import Capture
from harness.inspection.processes import holds_signal
from harness.launcher import ROOT
from harness.spawn import Process
from harness.waiting import aside
from sandbox.abi import STACKS_SIGNAL

# A dump takes a few milliseconds; whoever blocks the signal, or floods its stderr, gets no more than this.
STACK_SECONDS: Final = 0.3
LOOK_AGAIN_SECONDS: Final = 0.005
LINES_MAX: Final = 100
# A hundred threads with a hundred frames each have no more; what comes behind them is not looked at.
LINES_SEEN_MAX: Final = 10_200
LINE_MAX: Final = 400
# A headline has a name of 16 bytes at most in it; in whatever comes before it nothing is looked for.
HEAD_MAX: Final = 120
FRAME: Final = re.compile(
    rb'  File "[^\n]*", line (\d+|\?\?\?) in [^\n]*|  <no Python frame>|  <freed interpreter>|  \.\.\.|\.\.\.'
)
# It may stand behind what the worker was just writing.
HEAD: Final = re.compile(rb"(Current thread|Thread) 0x[0-9a-f]+ [^\n]*\(most recent call first\):\n?$")
# Where a worker's program begins; what is below is how it came to be started.
BELOW: Final = f'  File "{ROOT}/sandbox/start.py"'.encode()


def can_answer(catches: int) -> bool:
    """Say whether a process that catches these signals (SigCgt) has a handler for ours."""
    return bool(catches >> (STACKS_SIGNAL - 1) & 1)


async def stack_of(process: Process, stderr: Capture) -> tuple[str, ...]:
    """Return the lines of the worker's Python stack, as it tells them; none where it does not answer in time."""
    stderr.divert()
    try:
        signal.pidfd_send_signal(process.pidfd, STACKS_SIGNAL)
        async with asyncio.timeout(STACK_SECONDS):
            await aside(_wait_until_handled, process.pid, time.monotonic() + STACK_SECONDS)
    except OSError:
        # TimeoutError is one.
        pass
    finally:
        told, own = split(stderr.diverted())
        stderr.take_back(own)
    return told


def _wait_until_handled(pid: int, until: float) -> None:
    """Wait, but not beyond then (monotonic). It reads a file for each thread of the worker: not on an event loop."""
    quiet = 0
    # Twice: between the signal's end as a pending one and its handler's beginning there is a moment.
    while quiet < 2 and time.monotonic() < until:  # noqa: PLR2004
        time.sleep(LOOK_AGAIN_SECONDS)
        quiet = 0 if holds_signal(pid, STACKS_SIGNAL) else quiet + 1


def split(written: bytes) -> tuple[tuple[str, ...], bytes]:
    """Return the lines that faulthandler wrote, bounded and without what is below the program, and all other bytes."""
    told: list[str] = []
    own = bytearray()
    below = False
    lines = written.splitlines(keepends=True)
    for line in lines[:LINES_SEEN_MAX]:
        if head := HEAD.search(line, max(0, len(line) - HEAD_MAX)):
            own += line[: head.start()]
            below = False
        elif FRAME.fullmatch(line.rstrip(b"\n")):
            below = below or line.startswith(BELOW)
        else:
            own += line
            continue
        if not below and len(told) < LINES_MAX:
            told.append(line[head.start() if head else 0 :][:LINE_MAX].decode("utf-8", "backslashreplace").rstrip("\n"))
    return tuple(told), bytes(own) + b"".join(lines[LINES_SEEN_MAX:])
