"""What may have kept a worker from what it wanted, below its output."""

from pathlib import Path
from typing import Final

import pytest

from harness.events import Refusal
from harness.outcome import Failure, Outcome, WorkerOutcome
from harness.planner import only_plan_of
from harness.report.hints import hints
from harness.report.text import failure
from harness.supervisor import run_plan
from sandbox.confinement.policy import Layer
from tests.harness.written import write

ALL: Final = tuple(layer.value for layer in Layer)
SHOWN: Final = "readable: [/etc/passwd] in a profile of your own shows it"

# A program's body, what a profile of one's own changes, and what is told below its traceback.
KEPT: Final[dict[str, tuple[str, str, list[str]]]] = {
    "a file": (
        'open("/etc/passwd")',
        "readable: [/etc/passwd]",
        [f"'/etc/passwd': ENOENT: the root has nothing but what the program may read (empty_root); {SHOWN}"],
    ),
    "a call": (
        "os.sched_setaffinity(0, {0})",
        "allow: [sched_setaffinity]",
        ["sched_setaffinity: EPERM (seccomp); allow: [sched_setaffinity] in a profile of your own allows it"],
    ),
}


def run(tmp_path: Path, body: str, profile: str = "") -> tuple[Outcome, list[str]]:
    """Return the outcome of a worker whose program does this, and what is told below its stderr."""
    text = f"""
        profiles: {{mine: {{extends: strict, {profile}}}}}
        workers: {{a: {{program: "guest:main", protocol: socketpair, confinement: mine}}}}
    """
    source = f"import os\n\ndef main(worker):\n    {body}\n"
    plan = only_plan_of(write(tmp_path, text, guest=source), {})
    outcome = run_plan(plan)
    head = "\n\na, what its profile mine may have kept from it:\n"
    _, found, told = failure(plan, outcome).partition(head)
    return outcome, told.partition("\n\nrepeat it:")[0].splitlines() if found else []


@pytest.mark.parametrize(("body", "profile", "told"), KEPT.values(), ids=KEPT)
def test_what_ends_a_program_is_told_with_what_lets_it(
    body: str, profile: str, told: list[str], tmp_path: Path
) -> None:
    outcome, said = run(tmp_path, body)
    assert outcome.workers["a"].exit_status == 1
    assert said == told
    # And so it does.
    outcome, said = run(tmp_path, body, profile)
    assert (outcome.reason, said) == ("all as expected", [])


def test_a_file_that_is_opened_to_be_written_is_no_matter_of_a_profile(tmp_path: Path) -> None:
    _, said = run(tmp_path, 'open("/new", "w")')
    assert said == ["openat: EPERM (seccomp): files are opened for reading alone; `inherit` hands down one to write to"]


def test_a_module_beside_the_program_is_told_before_it_is_ready(tmp_path: Path) -> None:
    (tmp_path / "beside.py").touch()
    body = "pass\nimport beside"
    _, said = run(tmp_path, body)
    there = "its own module or package and the standard library are what it may read"
    assert said == [f"no module 'beside': {there}; make a package of it, or say readable: in a profile of your own"]
    outcome, _ = run(tmp_path, body, f"readable: [{tmp_path}/beside.py]")
    assert outcome.reason == "all as expected"


def test_what_a_program_catches_and_other_errors_are_no_failure_of_its_profile(tmp_path: Path) -> None:
    body = "try:\n        os.chroot('/')\n    except OSError:\n        pass\n    BODY"
    outcome, said = run(tmp_path, body.replace("BODY", "return 0"))
    assert (outcome.reason, said) == ("all as expected", [])
    outcome, said = run(tmp_path, body.replace("BODY", "os.close(1000)"))
    assert outcome.workers["a"].failure is None
    # It may be why: nobody knows what it did without.
    assert said == ["chroot: EPERM (seccomp); allow: [chroot] in a profile of your own allows it"]


def worker(error: str, path: str = "", layers: tuple[str, ...] = ALL, **more: object) -> WorkerOutcome:
    told = Failure(error, path) if error else None
    settings = {"exit_status": 1, "failure": told, "layers": layers, "is_heard": True, **more}
    return WorkerOutcome("a", **settings)  # type: ignore[arg-type]


def test_a_layer_that_the_worker_did_not_have_is_not_blamed() -> None:
    for layer, error in (
        ("empty_root", "ENOENT"),
        ("landlock", "EACCES"),
        ("empty_root", "EROFS"),
        ("seccomp", "ENOSYS"),
    ):
        (told,) = hints(worker(error, "/x"))
        assert f"({layer})" in told
        assert list(hints(worker(error, "/x", tuple(other for other in ALL if other != layer)))) == []
    assert list(hints(worker("ModuleNotFoundError", "m", ()))) == []


def test_where_no_call_can_be_told_that_is_told() -> None:
    assert list(hints(worker("EPERM", is_heard=False))) == [
        "which calls its list refused it (seccomp) is not told by this kernel"
    ]


def test_calls_without_a_name_are_nothing_to_allow() -> None:
    refusals = {Refusal("call 5000", "EPERM", "seccomp"): 1, Refusal("sync", "EPERM"): 1}
    assert list(hints(worker("", refusals=refusals))) == []


def test_one_that_did_not_fail_or_was_killed_needs_none() -> None:
    for status in (0, None, -9):
        assert list(hints(worker("ENOENT", "/x", exit_status=status))) == []


def test_what_a_worker_says_cannot_steer_the_terminal() -> None:
    (told,) = hints(worker("ENOENT", "/\x1b[2J\n\udc80"))
    assert told.isprintable()
