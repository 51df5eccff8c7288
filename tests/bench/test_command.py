"""imclab bench: what it says, what it leaves, and its exit status."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from harness import cli
from harness.bench import figures
from harness.bench.lines import Bound, Curve, Line, Measured, Reach
from harness.bench.machine import commit, machine
from harness.bench.runs import NotMeasured
from harness.outcome import Status

ROOT: Final = Path(__file__).parents[2]
GIT: Final = shutil.which("git")
LINES: Final[list[Line]] = [
    Measured("quick", "what", "s", [1, 2, 3], Reach(Bound.AT_MOST, 2)),
    Curve("quick", "1, 2 workers", {1: [1], 2: [2]}),
]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Have two figures that take no time, one of which cannot be measured, and an empty folder."""

    async def quick() -> list[Line]:
        return LINES

    async def impossible() -> list[Line]:
        raise NotMeasured("a reason")

    monkeypatch.setattr(figures, "FIGURES", {"quick": quick, "impossible": impossible, "suite": quick})
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def status_of(bench: pytest.MonkeyPatch, *arguments: str) -> int:
    """Return the exit status of `imclab bench` with these arguments."""
    bench.setattr(sys, "argv", ["imclab", "bench", *arguments])
    return cli.status_of_command()


def test_the_table_is_printed_and_the_record_and_the_curve_are_written(
    bench: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(bench, "--only", "quick") == 0
    said = capsys.readouterr()
    first, _, *rows, _, written = said.out.splitlines()
    assert first == ", ".join(f"{name} {value}" for name, value in machine().items())
    assert [row.split()[:3] for row in rows] == [
        ["figure", "peer", "ours"],
        ["what", "2", "s"],
        ["1,", "2", "workers"],
        ["make", "test-sandbox", "not"],
    ]
    assert written == "written: bench.json, bench.svg"
    assert said.err == "quick …\n"
    assert json.loads(Path("bench.json").read_text(encoding="utf-8"))["lines"][0]["rounds"] == [1, 2, 3]
    assert Path("bench.svg").read_text(encoding="utf-8").startswith("<svg")


def test_files_go_where_they_are_wanted(bench: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert status_of(bench, "--only", "quick", "--json", "a.json", "--svg", "a.svg") == 0
    assert {file.name for file in tmp_path.iterdir()} == {"a.json", "a.svg"}


def test_what_cannot_be_measured_here_is_69_and_the_rest_is_told(
    bench: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(bench) == Status.UNSUPPORTED.exit_code == 69
    said = capsys.readouterr().out
    assert "not measured: a reason" in said
    assert "2 s" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "quik"], "imclab: --only quik: there are quick, impossible, suite\n"),
        (["--json", "no/bench.json"], "imclab: no/bench.json: there is no folder no\n"),
        (["--svg", "."], "imclab: .: it cannot be written\n"),
        (["--json", "x", "--svg", "./x"], "imclab: --json and --svg: two files, not twice x\n"),
    ],
    ids=["figure", "folder", "file", "one file"],
)
def test_a_mistake_is_told_before_anything_is_measured(
    arguments: list[str], said: str, bench: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(bench, *arguments) == Status.REFUSED.exit_code == 64
    assert capsys.readouterr().err == said


@pytest.mark.skipif(not (ROOT / ".git").exists() or GIT is None, reason="no checkout, or no git")
def test_the_commit_is_the_checkout_s() -> None:
    head = subprocess.run([str(GIT), "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert head.startswith(commit().removesuffix("-dirty"))
    assert len(commit()) >= 12


def test_in_somebody_else_s_repository_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "installed" / "harness"
    package.mkdir(parents=True)
    for command in (
        ["init", "--quiet"],
        ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm.", "--allow-empty"],
    ):
        subprocess.run([str(GIT), "-C", str(tmp_path), *command], check=True)
    monkeypatch.setattr("harness.bench.machine.harness.__file__", str(package / "__init__.py"))
    assert commit() == "unknown"


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() == "unknown"
