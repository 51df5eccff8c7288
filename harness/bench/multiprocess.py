"""Using multiprocessing from within this command as a small script of somebody's would use it.

What a child of it costs depends on the module that its parent began in, for each child imports that again. Ours is the
entry point of `imclab`; a script of a few lines is nearer to what its users have, and kinder.
"""

import runpy
import signal
import sys
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from typing import Final

SCRIPT: Final = str(Path(__file__).parent / "peers" / "script.py")


@contextmanager
def script() -> Iterator[types.ModuleType]:
    """Be that script in the eyes of multiprocessing, and yield it."""
    main = sys.modules["__main__"]
    ours = sys.modules["__main__"] = types.ModuleType("__main__")
    vars(ours).update(runpy.run_path(SCRIPT, run_name="__main__"))
    # As where a file was run: not a module that was found by its name.
    ours.__file__, ours.__spec__ = SCRIPT, None
    try:
        yield ours
    finally:
        sys.modules["__main__"] = main


@contextmanager
def nobody_interrupted() -> Iterator[None]:
    """Have what is started meanwhile be deaf to ^C, which the terminal sends to all: to end it is our business."""
    # Which ends what is said here, where it is not there yet.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def idle_children(count: int) -> Iterator[list[int]]:
    """Have children, started by spawn, that wait to be told something; yield their process ids."""
    spawn = get_context("spawn")
    with script() as main, ExitStack() as held:
        ends, pids = [], []
        for _ in range(count):
            ours, theirs = spawn.Pipe()
            child = spawn.Process(target=main.idle, args=(theirs,))
            with nobody_interrupted():
                child.start()
            # In the end the last comes first: a child that saw its pipe end would complain.
            held.callback(ours.close)
            held.callback(child.join)
            held.callback(child.kill)
            theirs.close()
            ends.append(ours)
            pids.append(child.pid or 0)
        for end in ends:
            end.recv_bytes()
        yield pids
