"""Every guest gets what it is to get: under strict, unconfined, and without the layer that stops it first.

All of it once as whoever runs the tests, and where that is root, once more as an ordinary user.
"""

import fcntl
import json
import os
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import psutil
import pytest

from harness import run_topology
from tests import user
from tests.guests.guest import NOTHING, OFFENCE, SUCCESS, SUPERVISOR
from tests.guests.passes import HERE, ROOT, area_of, compile_natives, guests, is_skipped, passes, run_all
from tests.harness.written import write

GUESTS: Final = guests()
IN_PASSES: Final = [(name, which) for name, guest in GUESTS.items() for which in passes(guest)]
AREAS: Final = {"network", "files", "processes", "memory", "descriptors", "names", "clock", "kernel", "start"}

FAILED: Final = "failed"

Results = dict[str, dict[str, str]]


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Results]:
    """Return what gets the results of all passes as one user or the other, once for all processes of the session."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # Each process has a folder of its own in the session's.
        folder = folder.parent
    known = dict[str, Any]()

    def get(who: str) -> Results:
        if who not in known:
            file = folder / f"guests-{who}.json"
            with (folder / f"guests-{who}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not file.exists():
                    # Where it fails, the others are not to try as well, and say what the first one did.
                    file.write_text(json.dumps(found_or_failed(who, folder)), encoding="utf-8")
            known[who] = json.loads(file.read_text(encoding="utf-8"))
        found: Results = known[who]
        if FAILED in found:
            pytest.fail(str(found[FAILED]), pytrace=False)
        return found

    return get


def found_or_failed(who: str, folder: Path) -> Mapping[str, Any]:
    """Run all passes as one user or the other, and return what was found, or why not."""
    try:
        return run_as(who, folder)
    except Exception:  # noqa: BLE001 - whatever it is, every test tells it
        return {FAILED: traceback.format_exc()}


def run_as(who: str, folder: Path) -> Results:
    """Run all passes as root or as an ordinary user."""
    compiled = folder / f"guests-compiled-{who}"
    compiled.mkdir()
    compile_natives(compiled)
    if (who == "root") == (os.geteuid() == 0):
        return run_all(compiled)
    command = [*user.as_user(compiled), sys.executable, "-m", "tests.guests.passes", str(compiled)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    told: Results = json.loads(done.stdout)
    return told


def why_not_as(who: str) -> str | None:
    """Return why guests cannot be run as root or as an ordinary user; None where they can."""
    if who == "root":
        return None if os.geteuid() == 0 else "only root is root"
    return user.why_not()


@pytest.mark.parametrize("who", ["root", "user"])
@pytest.mark.parametrize(("name", "which"), IN_PASSES)
def test_a_guest_gets(name: str, which: str, who: str, results: Callable[[str], Results]) -> None:
    expected = GUESTS[name].expected(which, as_user=who == "user")
    if is_skipped(expected):
        pytest.skip(expected)
    if (why_not := why_not_as(who)) is not None:
        pytest.skip(why_not)
    found = results(who)[which]
    if name not in found and "command" in GUESTS[name].settings:
        pytest.skip("no C compiler here")
    # How a program failed is told after a colon.
    assert found[name].partition(":")[0] in expected.split(" or "), f"{found[name]}, where {expected} is expected"


def test_there_is_a_guest_in_every_file_and_each_has_something_to_do() -> None:
    files = {file.stem for file in HERE.glob("*/*.py")} - {"__init__"}
    assert files == GUESTS.keys()
    for source in HERE.glob("*/*.c"):
        assert "command" in GUESTS[source.stem].settings


def test_there_are_guests_after_everything() -> None:
    areas = Counter(map(area_of, GUESTS))
    assert areas.keys() == AREAS
    assert areas.total() >= 60


@pytest.mark.parametrize("name", GUESTS)
def test_what_stops_a_guest_is_seen_by_its_absence(name: str) -> None:
    """A control that gets the same shows nothing, but that nothing stops it, or the supervisor whom it offends."""
    guest = GUESTS[name]
    assert (guest.stopped_by == NOTHING) == (guest.strict == guest.control == SUCCESS)
    assert (guest.stopped_by == SUPERVISOR and guest.strict == OFFENCE) == (guest.strict == guest.control != SUCCESS)


@pytest.mark.parametrize(("profile", "expected"), [("descriptors", "nobody else"), ("none", "success")])
def test_no_new_privileges_alone_holds_a_setuid_program(profile: str, expected: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    compile_natives(tmp_path)
    program = tmp_path / "runs_a_setuid_program"
    if not program.exists():
        pytest.skip("no C compiler here")
    topology = f"workers: {{it: {{command: [{program}], protocol: socketpair, confinement: {profile}}}}}\n"
    assert run_topology(write(tmp_path, topology)).workers["it"].stdout.text().strip() == expected


def test_as_root_each_worker_has_a_uid_of_its_own(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give workers uids")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    topology = """
        defaults: {protocol: socketpair}
        workers:
          accomplice: {program: "tests.guests.company:accomplice", service_port: exported}
          guest: {program: "tests.guests.company:curious", replicas: 3, confinement: strict}
        routes: [{grant: accomplice, to: guest.*}]
        scenario: [{wait: {exit: guest.*}}]
    """
    outcome = run_topology(write(tmp_path, topology))
    assert outcome.passed, outcome.workers["guest.0"].stderr.text()
    told = [cast("list[int]", outcome.workers[f"guest.{index}"].reports["uids"]) for index in range(3)]
    # In its own user namespace it is nobody.
    assert {inside for inside, _ in told} == {65534}
    outside = {uid for _, uid in told}
    assert len(outside) == 3
    assert not outside & {process.uids().real for process in psutil.process_iter(["uids"])}
