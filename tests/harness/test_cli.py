"""The command: what it says, and its exit status, which is documented."""

import asyncio
import gc
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil
import pytest

from harness import cli, command
from harness.errors import MissingLayerError
from harness.outcome import Outcome, Status, worst
from harness.plan import Plan
from harness.planner import plans_of
from harness.report.profile import portrait
from harness.spawn import Zygote
from harness.supervisor import supervise_all
from harness.topology.schema import schema_text
from sandbox.confinement.policy import PROFILES
from tests.children import in_child
from tests.command import Command, finished
from tests.harness.topologies import HEAD, PAIR, PROBES
from tests.kernel import until

Write = Callable[..., Path]
Imclab = Callable[..., subprocess.CompletedProcess[str]]

ROOT: Final = Path(__file__).parents[2]
INTRODUCTION: Final = str(ROOT / "configs" / "introduction.imclab.yaml")

# One cell for each way to end that a topology alone can bring about, in a fraction of a second each.
ENDS: Final = f"""{HEAD}matrix: {{end: [passed, failed, late]}}
defaults: {{protocol: socketpair, program: "sandbox.programs.probe:main"}}
workers: {{a: {{service_port: unexported}}}}
scenario:
- {{at: a, do: socketpair}}
- {{at: a, do: socketpair, expect: {{error: EIO}}, when: {{end: failed}}}}
- {{at: a, do: accept, within: 100ms, when: {{end: late}}}}
"""

DRY: Final = f"""{HEAD}matrix: {{n: [1]}}
defaults: {{protocol: socketpair}}
workers:
  a:
    program: "own:main"
    service_port: exported
    args: {{n: "{{{{n}}}}"}}
    env: {{LANG: C}}
    limits: {{address_space: 64MiB, open_files: 100, cpu: 2s, wall: 1500ms, output: 1KiB}}
    inherit: [{{descriptor: 8, file: t.imclab.yaml, mode: r, as: text}}]
  b: {{command: [sh, -c, "exit 3"], grants: messages}}
  p: {{program: "sandbox.programs.probe:main"}}
routes:
  - {{grant: a, to: p}}
  - {{grant: a, to: b, facets: false}}
  - {{grant: b.late, to: p, as: x}}
channels: [{{between: [p.9, b.9], kind: data_only, as: side}}]
scenario:
  - {{at: p, do: connect, address: a, as: c}}
  - {{at: p, do: connect, address: x, expect: {{error: EIO}}}}
  - {{parallel: [{{kill: a}}, [{{wait: 1s}}, {{wait: {{exit: b}}, within: 2s}}]]}}
  - {{expect: {{exit: {{a: SIGKILL, b: 3}}, report: {{p: {{m: ">=1"}}}}}}}}
"""
DRY_PLAN: Final = """\
t[1] ({file})
  a: own:main
    protocol socketpair, layout 2013
      0 null device      stdin
      1 pipe             stdout: kept for the report
      2 pipe             stderr: kept for the report
      3 BoundSocket      bound_socket: its service port, of the supervisor's making
      4 SocketAddress    address: its service port's
      5 ConnectedSocket  control_channel: to the supervisor
      6 null device      unused
      7 null device      unused
      8 HostFile         text: {folder}/t.imclab.yaml, r
    arguments {{"n": 1}}
    environment LANG="C"
    limits address_space 67108864 bytes, open_files 100, cpu 2 s, wall 1.5 s, output 1024 bytes
    profile none
    ready by its announcement, within 5 s; stops within 2 s
  b: sh -c 'exit 3'
    protocol socketpair, layout 2013
      0 null device      stdin
      1 pipe             stdout: kept for the report
      2 pipe             stderr: kept for the report
      3 null device      unused
      4 null device      unused
      5 ConnectedSocket  control_channel: to the supervisor
      6 null device      unused
      7 null device      unused
      8 null device      unused
      9 DataOnlySocket   side: an end of channel 0, the other is p.9
    environment empty and LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES
    limits open_files 1024
    profile none
    ready by its start, within 5 s; stops within 2 s
  p: sandbox.programs.probe:main
    protocol socketpair, layout 2013
      0 null device      stdin
      1 pipe             stdout: kept for the report
      2 pipe             stderr: kept for the report
      3 null device      unused
      4 null device      unused
      5 ConnectedSocket  control_channel: to the supervisor
      6 SocketAddress    a: of a, a facet
      7 null device      unused
      8 null device      unused
      9 DataOnlySocket   side: an end of channel 0, the other is b.9
    environment empty
    limits open_files 1024
    profile none
    ready by its announcement, within 5 s; stops within 2 s
  routes
    a → b as a: the address itself, in a message
    a → p as a: a facet
    b.late → p as x: a facet, in a message
  scenario
    1. at the same time, each worker's steps one after the other
       p: connect to a → c
       p: connect to x, expects EIO
    2. branches at the same time
       -
         1. kill a
       -
         1. wait 1 s
         2. wait for the end of b, within 2 s
    3. wait for p's m = >=1, within 5 s
  expected in the end: a was ended by SIGKILL, b exited with 3, all others exited with 0
  within 60 s
"""


@pytest.fixture
def imclab(tmp_path: Path) -> Imclab:
    """Return `imclab(*args)`, which runs the command as a process of its own in the test's folder."""

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        return finished([str(argument) for argument in args], cwd=tmp_path)

    return run


@pytest.fixture
def status_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return `status_of(*args)`, which runs the command in this process and returns its exit status."""

    def run(*args: object) -> int:
        monkeypatch.setattr(sys, "argv", ["imclab", *map(str, args)])
        return cli.status_of_command()

    return run


StatusOf = Callable[..., int]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which every start of a zygote is added, none of which succeeds."""
    starts: list[str] = []

    async def start(_workers: int) -> Zygote:
        starts.append("zygote")
        raise AssertionError("nothing should be started")

    monkeypatch.setattr(Zygote, "start", start)
    return starts


# Exit statuses


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        (["passed"], 0),
        (["failed"], 1),
        (["late"], 124),
        (["passed", "failed"], 1),
        (["passed", "failed", "late"], 124),
    ],
)
def test_the_worst_cell_decides_the_exit_status(
    write: Write, tmp_path: Path, status_of: StatusOf, ends: list[str], status: int
) -> None:
    for number, end in enumerate(ends):
        text = ENDS.replace("matrix: {end: [passed, failed, late]}", f"vars: {{end: {end}}}")
        write(text, f"{number}.imclab.yaml")
    assert status_of("run", tmp_path) == status


def test_every_cell_is_run_whatever_became_of_those_before(write: Write, imclab: Imclab) -> None:
    ran = imclab("run", write(ENDS.replace("passed, failed, late", "failed, late, passed")))
    assert ran.returncode == 124
    assert [line.partition(" in ")[0] for line in ran.stdout.splitlines()] == [
        "t[failed]: failed",
        "t[late]: timed out",
        "t[passed]: passed",
    ]


@pytest.mark.parametrize("statuses", [[], [Status.PASSED], [Status.FAILED, Status.UNSUPPORTED], list(Status)])
def test_any_statuses_of_cells_make_the_documented_exit_status(
    write: Write, monkeypatch: pytest.MonkeyPatch, status_of: StatusOf, statuses: list[Status]
) -> None:
    outcomes = iter(statuses)
    file = write(f"{PAIR}matrix: {{n: [{', '.join(map(str, range(len(statuses) or 1)))}]}}\n")

    async def pretend(plan: Plan) -> Outcome:
        return Outcome(plan.cell, next(outcomes, Status.PASSED), "said so", {}, ())

    monkeypatch.setattr("harness.supervisor.supervise", pretend)
    assert status_of("run", file) == worst(statuses).exit_code


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (ValueError("a bug of ours"), 70, "Traceback (most recent call last):"),
        (AssertionError("a bug of ours"), 70, "a bug of ours"),
        (MissingLayerError("no seccomp"), 69, "imclab: no seccomp"),
        (KeyboardInterrupt(), 130, "imclab: interrupted"),
    ],
    ids=["a bug", "an assertion", "a layer that is missing", "an interrupt"],
)
def test_what_goes_wrong_in_a_run_has_its_own_exit_status(
    monkeypatch: pytest.MonkeyPatch,
    status_of: StatusOf,
    capsys: Captured,
    raised: BaseException,
    status: int,
    words: str,
) -> None:
    async def fail(_: Plan) -> Outcome:
        raise raised

    monkeypatch.setattr("harness.supervisor.supervise", fail)
    assert status_of("run", INTRODUCTION) == status
    told = capsys.readouterr().err
    assert words in told
    assert ("Traceback" in told) == (status == 70)


def test_what_goes_wrong_in_a_callback_of_one_of_several_runs_is_a_bug_of_ours_and_ends_them(
    write: Write, status_of: StatusOf, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(plan: Plan) -> Outcome:
        if plan.axes["n"] == 1:
            asyncio.get_running_loop().call_soon(dict[str, str]().pop, "a bug")
        await asyncio.sleep(60)
        raise AssertionError("it went on")

    monkeypatch.setattr("harness.supervisor.supervise", run)
    assert status_of("run", "-j", "2", write(f"{PAIR}matrix: {{n: [0, 1]}}\n")) == 70
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):")
    assert told.endswith("KeyError: 'a bug'\n")


# The command line


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["bogus"], "imclab: No such command 'bogus'."),
        (["run"], "imclab: Missing argument 'FILE|DIR…'."),
        (["check"], "imclab: Missing argument 'FILE|DIR…'."),
        (["run", "--bogus", "x"], "imclab: No such option: --bogus"),
        (["run", "-n", "x"], "imclab: No such option: -n"),
        (["run", INTRODUCTION, "--set"], "imclab: Option '--set' requires an argument."),
        (["run", INTRODUCTION, "--set", "x"], "imclab: --set x: write NAME=VALUE"),
        (["run", INTRODUCTION, "--set", "=5"], "imclab: --set =5: write NAME=VALUE"),
        (["run", INTRODUCTION, "--set", "greeting=\udcff"], "imclab: --set: write it in UTF-8"),
        (["run", "."], "imclab: .: no *.imclab.yaml in this folder"),
        (["run", "nowhere.imclab.yaml"], "nowhere.imclab.yaml:1:1: cannot read the file: No such file or directory"),
        (
            ["check", INTRODUCTION, "--set", "greting=x"],
            ":4:1: no variable or axis 'greting'; did you mean 'greeting'?",
        ),
        (["run", INTRODUCTION, "--protocol", "steam"], "steam is not on the axis 'protocol'; did you mean 'stream'?"),
    ],
)
def test_a_command_line_that_cannot_be_obeyed_is_told_without_a_traceback(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status_of: StatusOf,
    capsys: Captured,
    started: list[str],
    args: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status_of(*args) == 64
    told = capsys.readouterr()
    assert words in told.err
    assert "Traceback" not in told.err
    assert (told.out, started) == ("", [])


def test_without_arguments_the_command_explains_itself(imclab: Imclab) -> None:
    asked, silent = imclab("--help"), imclab()
    assert (asked.returncode, silent.returncode) == (0, 64)
    for told in (asked, silent):
        assert "Usage: imclab [OPTIONS] COMMAND [ARGS]..." in told.stdout
        assert "Traceback" not in told.stderr


# Topologies that are wrong


@pytest.mark.parametrize("command", ["run", "check"])
def test_when_any_file_among_several_is_wrong_nothing_is_started_and_all_mistakes_are_told(
    write: Write, status_of: StatusOf, capsys: Captured, started: list[str], command: str
) -> None:
    good = write(PROBES, "good.imclab.yaml")
    bad = write(PAIR.replace("1", "2", 1), "bad.imclab.yaml")
    worse = write(f"{PAIR}zoo: 1\nroutes: 5\n", "worse.imclab.yaml")
    assert status_of(command, good, worse, bad) == 64
    told = capsys.readouterr()
    assert [line.partition(": ")[0] for line in told.err.splitlines()] == [f"{bad}:1:9", f"{worse}:6:1", f"{worse}:7:9"]
    assert (told.out, started) == ("", [])


def test_the_guard_that_sees_a_start_does_see_one(status_of: StatusOf, started: list[str]) -> None:
    assert status_of("run", INTRODUCTION, "--protocol", "stream") == 70
    assert started == ["zygote"]


def test_check_says_which_cells_there_are_and_starts_nothing(
    status_of: StatusOf, capsys: Captured, started: list[str]
) -> None:
    files = sorted((ROOT / "configs").rglob("*.imclab.yaml"))
    names = [file.name.removesuffix(".imclab.yaml") for file in files]
    assert {"introduction", "one-breaks-it"} <= set(names)
    assert status_of("check", ROOT / "configs", "--protocol", "stream") == 0
    lines = capsys.readouterr().out.splitlines()
    # A cell that is refused, as its file expects, has ended before it begins.
    assert [line for line in lines if not re.search(r"\bstream(-\w+)?\]: (ok|passed in 0.00 s)$", line)] == []
    assert list(dict.fromkeys(line.partition("[")[0] for line in lines)) == names
    assert len([line for line in lines if line.startswith("introduction")]) == 1
    assert started == []


def test_a_folder_is_all_topologies_within_it(
    write: Write, status_of: StatusOf, capsys: Captured, tmp_path: Path
) -> None:
    (tmp_path / "within").mkdir()
    write(PAIR.replace(": t\n", ": deep\n"), "within/b.imclab.yaml")
    write(PAIR, "a.imclab.yaml")
    write("no topology", "within/other.yaml")
    assert status_of("check", tmp_path) == 0
    assert capsys.readouterr().out == "t: ok\ndeep: ok\n"


# What is chosen, and what is told


@pytest.mark.parametrize(
    ("options", "cells"),
    [
        (["--protocol", "stream"], ["t[stream-1]", "t[stream-2]"]),
        (["--set", "protocol=stream"], ["t[stream-1]", "t[stream-2]"]),
        (["--set", "n=2"], ["t[stream-2]", "t[datagram-2]"]),
        (["--set", "n=2", "--protocol", "datagram"], ["t[datagram-2]"]),
        ([], ["t[stream-1]", "t[stream-2]", "t[datagram-1]", "t[datagram-2]"]),
    ],
)
def test_options_choose_cells(
    write: Write, status_of: StatusOf, capsys: Captured, options: list[str], cells: list[str]
) -> None:
    file = write(f"{PAIR}matrix: {{protocol: [stream, datagram], n: [1, 2]}}\n")
    assert status_of("check", file, *options) == 0
    assert capsys.readouterr().out.split(": ok\n")[:-1] == cells


@pytest.mark.parametrize(
    ("assignment", "value"),
    [("v=5", 5), ("v='5'", "5"), ("v=true", True), ("v=a=b", "a=b"), ("v=", ""), ("v=[1]", "[1]"), ("v=é", "é")],
)
def test_what_is_set_is_a_yaml_scalar_or_text(assignment: str, value: object) -> None:
    ((name, chosen),) = cli.chosen(None, [assignment]).items()
    assert (name, chosen, type(chosen)) == ("v", value, type(value))


def test_a_variable_that_is_set_reaches_the_worker(imclab: Imclab) -> None:
    ran = imclab("run", "-v", INTRODUCTION, "--protocol", "acknowledged", "--set", "greeting=find carol")
    assert ran.returncode == 0
    assert "  bob    recvmsg on from_alice: 'find carol' [SocketAddress of carol] → carol\n" in ran.stdout
    assert ran.stderr == ""


@pytest.mark.parametrize("jobs", ["1", "2", "7"])
def test_several_runs_at_a_time_are_told_in_the_order_of_the_files(imclab: Imclab, jobs: str, write: Write) -> None:
    text = f"""{HEAD}matrix: {{n: [0, 1, 2, 3, 4]}}
workers: {{a: {{program: "sandbox.programs.probe:main", protocol: socketpair}}}}
scenario:
  - {{wait: 300ms, when: {{n: 0}}}}
  - {{at: a, do: socketpair, when: {{n: 3}}, expect: {{error: EIO}}}}
"""
    ran = imclab("run", "-j", jobs, write(text))
    assert ran.returncode == 1
    assert [line.split(" in ")[0] for line in ran.stdout.splitlines()] == [
        f"t[{n}]: {'failed' if n == 3 else 'passed'}" for n in range(5)
    ]


def test_so_many_runs_go_on_at_the_same_time_and_no_more(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on, most = set[str](), list[int]()

    async def pretend(plan: Plan) -> Outcome:
        going_on.add(plan.cell)
        most.append(len(going_on))
        await asyncio.sleep(0.01)
        going_on.remove(plan.cell)
        return Outcome(plan.cell, Status.PASSED, "", {}, ())

    monkeypatch.setattr("harness.supervisor.supervise", pretend)
    plans = plans_of(write(f"{PAIR}matrix: {{n: [0, 1, 2, 3, 4, 5, 6]}}\n"))
    told: list[str] = []
    asyncio.run(supervise_all(plans, 3, lambda plan, _: told.append(plan.cell)))
    assert told == [plan.cell for plan in plans]
    assert max(most) == 3


INTERRUPTED_WHILE_IT_IMPORTS: Final = """
import sys

class Interrupt:
    def find_spec(name, path=None, target=None):
        if name == "harness.cli":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt)
from harness.command import main
main()
"""


def test_an_interrupt_while_the_command_is_imported_is_told_as_any_other() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE_IT_IMPORTS], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "imclab: interrupted; nothing is left running\n")


@in_child
def test_the_command_collects_garbage_once_it_is_imported() -> None:
    sys.argv = ["imclab", "schema"]
    with pytest.raises(SystemExit):
        command.main()
    assert gc.isenabled()


def test_an_interrupt_ends_all_of_several_runs(write: Write) -> None:
    text = f"""{HEAD}matrix: {{n: [0, 1, 2]}}
workers: {{a: {{program: "sandbox.programs.probe:main", protocol: socketpair}}}}
scenario: [{{wait: 30s}}]
"""
    with Command(["run", "-j", "3", str(write(text))], stderr=subprocess.PIPE, text=True) as process:
        until(lambda: len(psutil.Process(process.pid).children(recursive=True)) >= 6, "three runs with a worker each")
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (130, "imclab: interrupted; nothing is left running\n")
    assert psutil.wait_procs(family, timeout=0)[1] == []


def test_a_dry_run_tells_the_plan_and_starts_nothing(
    write: Write, status_of: StatusOf, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.supervisor.supervise", None)
    assert status_of("run", "--dry-run", write(DRY), "--set", "n=1") == 0
    file = str(write(DRY))
    assert capsys.readouterr().out == DRY_PLAN.format(file=file, folder=Path(file).parent)


REFUSED_CELLS: Final = f"""{HEAD}matrix: {{protocol: [stream, socketpair]}}
defaults: {{protocol: "{{{{protocol}}}}", program: "sandbox.programs.probe:main", facets: true}}
workers: {{a: {{service_port: exported}}, b: {{}}}}
routes: [{{grant: a, to: b}}]
scenario: []
"""


@pytest.mark.parametrize("command", [["check"], ["run", "--dry-run"], ["run"]])
def test_a_refusal_is_told_before_anything_starts_too(
    command: list[str], write: Write, status_of: StatusOf, capsys: Captured
) -> None:
    file = write(REFUSED_CELLS)
    assert status_of(*command, file) == 64
    assert "a speaks stream, where the kernel itself connects: there are no facets" in capsys.readouterr().out
    expected = write(f"{REFUSED_CELLS}refused: [{{protocol: stream}}]\n")
    assert status_of(*command, expected) == 0


def test_the_protocol_chooses_among_files_that_say_it_otherwise(
    write: Write, status_of: StatusOf, capsys: Captured
) -> None:
    one = write(f'{HEAD}workers: {{a: {{program: "m:f", protocol: stream}}}}\n', "one.imclab.yaml")
    write('schema: 1\nname: u\nworkers: {a: {program: "m:f", protocol: datagram}}\n', "two.imclab.yaml")
    assert status_of("check", "--protocol", "datagram", one.parent) == 0
    assert capsys.readouterr().out == "u: ok\n"
    assert status_of("check", "--protocol", "datagran", one.parent) == 64
    assert capsys.readouterr().err == "imclab: no cell speaks 'datagran'; did you mean 'datagram'?\n"


def test_the_schema_is_printed(status_of: StatusOf, capsys: Captured) -> None:
    assert status_of("schema") == 0
    assert capsys.readouterr().out == schema_text()


def test_a_profile_is_printed_whether_or_not_a_worker_has_it(
    status_of: StatusOf, capsys: Captured, write: Write
) -> None:
    assert status_of("profile", "strict") == 0
    assert capsys.readouterr().out == f"{portrait(PROFILES['strict'])}\n"
    file = str(write(f"{PAIR}profiles: {{mine: {{extends: strict, allow: [sync]}}}}\n"))
    assert status_of("profile", "mine", file) == 0
    assert capsys.readouterr().out.startswith("mine\n  made of strict\n  allow sync\n")
    for name, more, told in (
        ("mine", (), "unknown profile 'mine'; there are none, descriptors, strict, names"),
        ("mind", (file,), "unknown profile 'mind'; did you mean 'mine'?"),
        ("tightest", (), "tightest is no profile of its own: it chooses strict or names"),
    ):
        assert status_of("profile", name, *more) == 64
        assert capsys.readouterr().err == f"imclab: {told}\n"
    assert status_of("profile", "strict", str(write(f"{PAIR}profiles: {{mine: {{extends: loose}}}}\n"))) == 64
    assert "unknown profile 'loose'" in capsys.readouterr().err


def test_without_v_a_run_that_passed_is_one_line(imclab: Imclab) -> None:
    ran = imclab("run", INTRODUCTION)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.partition(" in ")[0] for line in ran.stdout.splitlines()] == [
        f"introduction[{protocol}]: passed" for protocol in ("stream", "datagram", "socketpair", "acknowledged")
    ]


@pytest.mark.parametrize(("end", "status"), [("failed", 1), ("late", 124)])
def test_the_command_that_a_failure_tells_repeats_that_one_cell(
    write: Write, imclab: Imclab, end: str, status: int
) -> None:
    text = f"vars: {{v: 1}}\n{ENDS}".replace("socketpair, expect", 'mem_obj_create, size: "{{v}}", expect')
    first = imclab("run", write(text, "it's a file.imclab.yaml"), "--set", "v=65536")
    assert first.returncode == 124
    told = [line.removeprefix("repeat it: ") for line in first.stderr.splitlines() if line.startswith("repeat it: ")]
    repeated = next(shlex.split(line) for line in told if f"end={end}" in line)
    assert repeated[0] == "imclab"
    again = imclab(*repeated[1:])
    assert again.returncode == status
    assert [line.partition(" ")[0] for line in again.stdout.splitlines()] == [f"t[{end}]:"]
    assert ("expected EIO, got success" in again.stderr) == (end == "failed")


def test_a_failure_is_told_on_stderr_with_its_place_first(write: Write, imclab: Imclab) -> None:
    file = write(ENDS)
    ran = imclab("run", file, "--set", "end=failed")
    assert ran.stderr.startswith(f"{file}:8:3: a: socketpair: expected EIO, got success\n")
    assert "Traceback" not in ran.stderr
