"""Runs guests, all of a pass in one topology, and says what each got.

    strict        every layer
    control       no confinement at all: what the attempts get where nothing stops them
    "seccomp" …   strict without the layers of this name

Executed, it runs all passes as whoever executes it: `python -m tests.guests.passes COMPILED`.
"""

import contextlib
import ctypes
import importlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psutil

from harness import Outcome
from harness.events import WorkerKilled
from harness.launcher import warm
from harness.planner import only_plan_of
from harness.supervisor import run_plan
from sandbox.confinement.policy import Layer
from tests.guests.guest import CONTROL, GOT, OFFENCE, READER, STRICT, Guest
from tests.guests.processes.leaves_an_orphan import orphan

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
COMPANY: Final[Mapping[str, str]] = {"victim": STRICT, "accomplice": "none"}
# Of SysV shared memory, as shmget(2) and shmctl(2) have it.
IPC_PRIVATE: Final = 0
IPC_RMID: Final = 0
PAGE: Final = 4096
SEGMENTS_OF_A_RUN: Final = 100
SOMEBODY_ELSE: Final = 1_999_999_998


def guests() -> dict[str, Guest]:
    """Return all guests, by the names of their files."""
    found = {}
    for file in sorted(HERE.glob("*/*.py")):
        if file.stem != "__init__":
            assert file.stem not in found, file
            found[file.stem] = importlib.import_module(module_of(file)).GUEST
    return found


def module_of(file: Path) -> str:
    """Return the module of a guest's file."""
    return f"tests.guests.{file.parent.name}.{file.stem}"


def area_of(name: str) -> str:
    """Return what a guest is after: the folder that it is in."""
    (file,) = HERE.glob(f"*/{name}.py")
    return file.parent.name


def passes(guest: Guest) -> list[str]:
    """Return the passes that a guest is in."""
    return [STRICT, CONTROL, *guest.without]


def all_passes() -> list[str]:
    """Return every pass that some guest is in."""
    return list(dict.fromkeys(name for guest in guests().values() for name in passes(guest)))


def is_skipped(expected: str) -> bool:
    """Say whether there is nothing to be seen of a guest in a pass."""
    return expected.startswith("skipped: ")


def run_all(compiled: Path) -> dict[str, dict[str, str]]:
    """Run all passes, and return what each guest got, by pass and guest."""
    with surroundings() as found:
        found["compiled"] = str(compiled)
        return {name: run(name, found) for name in all_passes()}


def left_behind(found: Mapping[str, str | int]) -> list[psutil.Process]:
    """Return the processes that guests have left behind."""
    return [process for process in psutil.process_iter(["name"]) if process.info["name"] == orphan(str(found["name"]))]


def run(name: str, found: Mapping[str, str | int]) -> dict[str, str]:
    """Run the guests of one pass, and return what each got.

    Those whose time is limited are run apart, for with all others beside it might pass before they have started.
    """
    as_user = os.geteuid() != 0
    natives = {file.name for file in Path(str(found["compiled"])).iterdir()}
    there = {
        guest_name: guest
        for guest_name, guest in guests().items()
        if name in passes(guest) and not is_skipped(guest.expected(name, as_user))
        if "command" not in guest.settings or guest_name in natives
    }
    timed = {guest_name: guest for guest_name, guest in there.items() if guest.is_timed}
    others = {guest_name: guest for guest_name, guest in there.items() if not guest.is_timed}
    return {**run_together(name, others, found), **run_together(name, timed, found)}


def run_together(name: str, there: Mapping[str, Guest], found: Mapping[str, str | int]) -> dict[str, str]:
    """Run these guests, and return what each got.

    One that ends as nobody expects ends the run; then all are run again, with this to be expected, so that each is told
    for itself.
    """
    if not there:
        return {}
    as_user = os.geteuid() != 0
    exits = {guest_name: exit_of(guest.expected(name, as_user)) for guest_name, guest in there.items()}
    for _ in range(len(there) + 1):
        outcome = run_once(name, there, exits, found)
        surprising = {who: status for who, status in ends(outcome).items() if status != exits.get(who, 0)}
        if not surprising:
            break
        exits |= surprising
    assert outcome.workers, outcome.reason
    assert not left_behind(found), outcome.reason
    return {guest_name: got(outcome, guest_name) for guest_name in there}


def run_once(
    name: str, there: Mapping[str, Guest], exits: Mapping[str, int], found: Mapping[str, str | int]
) -> Outcome:
    """Run the guests of one pass, which end as `exits` says."""
    found = {**found, "scratch": scratch(found)}
    confinement = "none" if name == CONTROL else STRICT
    workers: dict[str, Any] = {
        company: {
            "program": f"tests.guests.company:{company}",
            "service_port": "exported",
            "args": dict(found),
            "confinement": "none" if CONTROL in (name, kept) else kept,
        }
        for company, kept in COMPANY.items()
    }
    for guest_name, guest in there.items():
        own = (
            {} if "command" in guest.settings else {"program": f"tests.guests.{area_of(guest_name)}.{guest_name}:main"}
        )
        of_this_pass = guest.control_settings if name == CONTROL else guest.strict_settings
        workers[guest_name] = {**own, "confinement": confinement, "args": dict(found), **guest.settings, **of_this_pass}
    topology = {
        "schema": 1,
        "name": "guests",
        "vars": dict(found),
        "profiles": {READER: {"extends": STRICT, "readable": ["{{readable}}", "/dev/zero"]}},
        "defaults": {"protocol": "socketpair", "ready": {"within": "20s"}},
        "workers": workers,
        "routes": [{"grant": company, "to": who} for who, guest in there.items() for company in guest.company],
        "scenario": [{"wait": {"exit": list(there)}, "within": "20s"}],
    }
    file = Path(str(found["folder"]), "guests.imclab.yaml")
    file.write_text(json.dumps(topology), encoding="utf-8")
    plan = only_plan_of(file, {})
    off = frozenset(map(Layer, name.split())) if name not in (STRICT, CONTROL) else frozenset[Layer]()
    confined = {
        who: replace(worker, policy=replace(worker.policy, layers=worker.policy.layers - off))
        for who, worker in plan.workers.items()
    }
    return run_plan(replace(plan, workers=confined, exits=exits))


def exit_of(expected: str) -> int:
    """Return the exit status of a guest that gets this."""
    first = expected.split(" or ", maxsplit=1)[0]
    if first.startswith("exit "):
        return int(first.removeprefix("exit "))
    if first.startswith("SIG"):
        return -signal.Signals[first]
    return -signal.SIGKILL if first == OFFENCE else 0


def ends(outcome: Outcome) -> dict[str, int]:
    """Return the exit statuses of the workers that the end of the run did not end."""
    ended = {event.worker for event in outcome.events if isinstance(event, WorkerKilled) and "is over" in event.reason}
    statuses = {name: worker.exit_status for name, worker in outcome.workers.items() if name not in ended}
    return {name: status for name, status in statuses.items() if status is not None}


def got(outcome: Outcome, name: str) -> str:
    """Return what a guest got."""
    worker = outcome.workers[name]
    if worker.offence is not None:
        return OFFENCE if "closed its control channel" in worker.offence else f"{OFFENCE}: {worker.offence}"
    if worker.exit_status is None or name not in ends(outcome):
        return f"nothing: {outcome.reason}"
    if worker.exit_status < 0:
        return signal.Signals(-worker.exit_status).name
    if worker.exit_status > 0:
        return ": ".join([f"exit {worker.exit_status}", *worker.stderr.text().splitlines()[-1:]])
    return str(worker.reports.get(GOT, worker.stdout.text().strip()))


def scratch(found: Mapping[str, str | int]) -> str:
    """Return a folder of the host's with files in it, for the guests of one pass to do with what they can."""
    folder = Path(tempfile.mkdtemp(dir=str(found["folder"])))
    folder.chmod(0o755)
    (folder / "directory").mkdir()
    for name in ("file", "doomed"):
        (folder / name).write_text("the host's\n", encoding="utf-8")
    return str(folder)


@contextlib.contextmanager
def surroundings() -> Iterator[dict[str, str | int]]:
    """Have what guests look for: things of the host's that a worker has no business with."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imclab-guests-")))
        folder.chmod(0o755)
        # The topology's folder: guests are modules of `tests`.
        (folder / "tests").symlink_to(ROOT / "tests")
        readable = folder / "readable"
        readable.mkdir(0o755)
        (readable / "file").write_text("the host's\n", encoding="utf-8")
        (readable / "program").write_text("no program", encoding="utf-8")
        (readable / "program").chmod(0o755)
        name = f"imclab-guests-{secrets.token_hex(8)}"
        for address in (str(folder / "listener"), f"\0{name}"):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listener.bind(address)
            listener.listen(100)
        for address in (str(folder / "mailbox"), f"\0{name}-mailbox"):
            stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).bind(address)
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        shared = Path("/dev/shm", name)  # noqa: S108 - where shm_open(3) has its names
        shared.write_bytes(b"swordfish")
        stack.callback(shared.unlink)
        libc = ctypes.CDLL(None, use_errno=True)
        segment = int(libc.shmget(IPC_PRIVATE, PAGE, 0o600))
        # One of a number that nobody has in a namespace of the run's own, where they begin anew.
        while segment <= SEGMENTS_OF_A_RUN:
            libc.shmctl(segment, IPC_RMID, None)
            segment = int(libc.shmget(IPC_PRIVATE, PAGE, 0o600))
        stack.callback(libc.shmctl, segment, IPC_RMID, None)
        master, tty = os.openpty()
        stack.callback(os.close, master)
        stack.callback(os.close, tty)
        yield {
            "folder": str(folder),
            "readable": str(readable),
            "name": name,
            "port": server.getsockname()[1],
            "segment": segment,
            "tty": os.ttyname(tty),
            "supervisor": os.getpid(),
        }


def compile_natives(folder: Path) -> None:
    """Compile the guests that are no Python, where there is a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    for source in HERE.glob("*/*.c") if compiler else ():
        program = folder / source.stem
        subprocess.run([str(compiler), "-std=gnu11", "-Wall", "-Werror", "-o", str(program), str(source)], check=True)
    setuid = folder / "runs_a_setuid_program"
    if setuid.exists() and os.geteuid() == 0:
        os.chown(setuid, SOMEBODY_ELSE, SOMEBODY_ELSE)
        setuid.chmod(0o4755)


if __name__ == "__main__":
    # As in a session of pytest's.
    with warm():
        sys.stdout.write(json.dumps(run_all(Path(sys.argv[1]))))
