"""What the launcher is after it has lived a worker's life: the same, but that Python has learned."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable

from sandbox import start
from sandbox.rehearsal import live, rehearse
from sandbox.worker import Inbox
from tests.children import fork
from tests.kernel import open_files


def ends_well(check: Callable[[], None]) -> bool:
    """Say whether `check` passes in a child, of which no descriptor has to stay open."""
    pid = fork()
    if not pid:
        try:
            check()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - whatever it is, it is the test's output
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def seen_by_a_program() -> list[object]:
    """Return all that a worker's program could find of another one, in the order of its names."""
    return [
        sys.path.copy(),
        sys.argv.copy(),
        set(sys.modules),
        set(sys.path_importer_cache),
        dict(os.environ),
        threading.enumerate(),
        sys.getprofile(),
        start.KEPT.copy(),
    ]


def test_nothing_is_left_of_it_but_what_is_kept() -> None:
    def check() -> None:
        # The first one imports what the launcher has.
        kept, _ = os.pipe()
        inode = os.fstat(kept).st_ino
        kept = live(kept)
        before = seen_by_a_program()
        kept = rehearse(kept)
        assert seen_by_a_program() == before
        assert set(open_files()) == {0, 1, 2, kept}
        assert os.fstat(kept).st_ino == inode
        assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL

    assert ends_well(check)


def has_learned(code: object) -> bool:
    """Say whether Python has written into this code: what it runs is no longer what was compiled."""
    return bool(code._co_code_adaptive != code.co_code)  # type: ignore[attr-defined]


def test_python_has_learned_what_workers_do() -> None:
    def check() -> None:
        rehearse(os.dup(0))
        functions = [start.what_to_become, start.place_descriptors, start.cut, start.run_program, Inbox.wait_until]
        assert [function.__name__ for function in functions if not has_learned(function.__code__)] == []

    assert ends_well(check)
