"""What of its profile may have kept a worker from what it wanted, and what would let it."""

from collections.abc import Iterator
from typing import Final

from harness.outcome import Failure, WorkerOutcome
from harness.scenario import printable
from sandbox.confinement.policy import Layer
from sandbox.control import NO_MODULE

OWN: Final = "in a profile of your own"
# By the names that they have in an outcome.
EMPTY_ROOT: Final = Layer.EMPTY_ROOT.value
LANDLOCK: Final = Layer.LANDLOCK.value
SECCOMP: Final = Layer.SECCOMP.value
# Through which a file is opened, and refused where it is not for reading alone.
OPEN: Final = "openat"
FOR_WRITING: Final = "files are opened for reading alone; `inherit` hands down one to write to"


def hints(worker: WorkerOutcome) -> Iterator[str]:
    """Yield a line for each layer that may be why the worker failed; none where it did not, or no layer can be."""
    if not worker.exit_status or worker.exit_status < 0:
        return
    failure = worker.failure
    if failure is not None and (told := _of_files(failure, worker.layers)):
        yield told
    elif failure is None or failure.error == "EPERM":
        yield from _of_calls(worker)
    elif failure.error == "ENOSYS" and SECCOMP in worker.layers:
        yield f"ENOSYS: so the list of system calls ({SECCOMP}) answers what libraries probe for"


def _of_files(failure: Failure, layers: tuple[str, ...]) -> str:
    """Return which layer may have kept a file from it, or "" where none can have."""
    path = printable(failure.path)
    match failure.error:
        case "ENOENT" if failure.path and EMPTY_ROOT in layers:
            return (
                f"{path!r}: ENOENT: the root has nothing but what the program may read ({EMPTY_ROOT}); {_shown(path)}"
            )
        case "EACCES" if failure.path and LANDLOCK in layers:
            return f"{path!r}: EACCES: nothing may be read but what the program is made of ({LANDLOCK}); {_shown(path)}"
        case "EROFS" if EMPTY_ROOT in layers:
            return f"{path!r}: EROFS: nothing in the root can be written ({EMPTY_ROOT}); {FOR_WRITING}"
        case name if name == NO_MODULE and {EMPTY_ROOT, LANDLOCK}.intersection(layers):
            there = "its own module or package and the standard library"
            return f"no module {path!r}: {there} are what it may read; make a package of it, or say readable: {OWN}"
        case _:
            return ""


def _shown(path: str) -> str:
    """Return what shows a path."""
    if path.startswith("/"):
        return f"readable: [{path}] {OWN} shows it"
    return f"it was looked for in /, where workers run; readable: {OWN} shows it where it lies"


def _of_calls(worker: WorkerOutcome) -> Iterator[str]:
    """Yield what the list of system calls refused it, as the kernel tells it."""
    calls = [refusal.call for refusal in worker.refusals if (refusal.layer, refusal.error) == (SECCOMP, "EPERM")]
    named = [call for call in calls if " " not in call and call != OPEN]
    if OPEN in calls:
        yield f"{OPEN}: EPERM ({SECCOMP}): {FOR_WRITING}"
    if named:
        them = "it" if len(named) == 1 else "them"
        yield f"{', '.join(named)}: EPERM ({SECCOMP}); allow: [{', '.join(named)}] {OWN} allows {them}"
    if any((refusal.layer, refusal.error) == (SECCOMP, "SIGSYS") for refusal in worker.refusals):
        yield (
            f"SIGSYS ({SECCOMP}): the kernel does not tell for which call; imclab profile {worker.profile} lists "
            f"those that end the process, and allow: [CALL] {OWN} allows one"
        )
    if SECCOMP in worker.layers and not worker.is_heard:
        yield f"which calls its list refused it ({SECCOMP}) is not told by this kernel"
