"""The launcher: a warm interpreter, of which each run's zygote is a clone.

A run has one of its own, which ends with it. Within `warm()` all runs of the process share one, and start 50 ms sooner.
It ends when its socket does: with the process that started it, whatever becomes of that.
"""

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sandbox
from sandbox.descriptors import over
from sandbox.transport import send_packet, seqpacket_pair

# -I: no environment, no user's site, no current folder. The path is that of the package that is running here.
ROOT: Final = str(Path(sandbox.__file__).resolve().parent.parent)
# What is imported stays, so that until then nothing is looked for that could be collected: it would take a tenth of it.
PROGRAM: Final = f"import gc, sys; gc.disable(); sys.path.insert(0, {ROOT!r}); from sandbox.zygote import main; main()"
# What is done for many workers takes 20 ms, which so many save in a run of their own.
MANY: Final = 64

WORDS_MAX: Final = 65536


class Launcher:
    """A process that clones itself into zygotes, which are children of ours as it is itself."""

    def __init__(self, program: str, *, many: bool) -> None:
        """Start it, for many workers or for few. Raises OSError."""
        self.program = program
        self.made_by = ourselves()
        ours, theirs = seqpacket_pair()
        self._sock = over(ours)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", program, "many" if many else "few"],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={},
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            self._sock.close()
            raise
        finally:
            os.close(theirs)
        assert self._process.stderr is not None  # noqa: S101 - it was asked for
        os.set_blocking(self._process.stderr.fileno(), False)

    def launch(self, lifeline: int, stderr: int) -> None:
        """Have it clone a zygote that serves `lifeline` (both borrowed), where it tells of its birth.

        Where there is no launcher any more, the lifeline ends. Raises OSError.
        """
        try:
            send_packet(self._sock, (b"zygote",), (lifeline, stderr))
        except (BrokenPipeError, ConnectionResetError):
            """Its end of the lifeline goes with it."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fits(self) -> bool:
        """Say whether it is what we would start now, and is there. In a fork of whoever made it, it is not."""
        return self.made_by == ourselves() and self.program == PROGRAM and self._process.poll() is None

    def words(self) -> str:
        """Return what it said on its stderr."""
        assert self._process.stderr is not None  # noqa: S101 - it was asked for
        return (self._process.stderr.read(WORDS_MAX) or b"").decode("utf-8", "backslashreplace")

    def close(self) -> None:
        """End it, and return when it is gone."""
        self._sock.close()
        self._process.kill()
        self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()


def ourselves() -> tuple[object, ...]:
    """Return what a zygote has from us by its launcher, and which process we are."""
    return os.getpid(), os.getresuid(), os.getresgid(), resource.getrlimit(resource.RLIMIT_NOFILE)


class _Shared:
    """The launcher of all runs of this process, once there is one; `depth` is how many `warm()` we are in.

    `workers` is how many all of the runs have, as far as is known.
    """

    depth = 0
    workers = MANY
    launcher: Launcher | None = None


@contextmanager
def warm(workers: int = MANY) -> Iterator[None]:
    """Have all runs in here share a launcher, which is started when the first one needs it, and ends at the end.

    `workers` is how many they have together; what an outer `warm()` was told goes before it.
    """
    if not _Shared.depth:
        _Shared.workers = workers
    _Shared.depth += 1
    try:
        yield
    finally:
        _Shared.depth -= 1
        if not _Shared.depth and _Shared.launcher is not None:
            _Shared.launcher.close()
            _Shared.launcher = None


@contextmanager
def launcher_of_a_run(workers: int) -> Iterator[Launcher]:
    """Lend the launcher that is shared here, or one that ends with the run of so many workers. Raises OSError."""
    # What the kernel ends with us, it ends with the thread that started it.
    if _Shared.depth and threading.current_thread() is threading.main_thread():
        if _Shared.launcher is None:
            _Shared.launcher = Launcher(PROGRAM, many=_Shared.workers >= MANY)
        if _Shared.launcher.fits():
            yield _Shared.launcher
            return
    launcher = Launcher(PROGRAM, many=workers >= MANY)
    try:
        yield launcher
    finally:
        launcher.close()
