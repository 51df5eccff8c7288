"""The command: what it prints, what it writes, what it answers to a mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from harness import cli
from harness.compare import table
from sandbox.protocols import PROTOCOLS

ROOT: Final = Path(__file__).parents[3]


def compare(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["imclab", "compare", *arguments])
    return cli.status_of_command()


def test_one_property_as_json_and_as_a_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "compare.html"
    assert compare(monkeypatch, "--explain", "same-token", "--json", "--html", str(page)) == 0
    (told,) = json.loads(capsys.readouterr().out)["properties"]
    assert {protocol: cell["answer"] for protocol, cell in told["cells"].items()} == {
        "stream": "EADDRINUSE",
        "datagram": "EADDRINUSE",
        "socketpair": "there are no tokens",
        "acknowledged": "there are no tokens",
    }
    assert told["cells"]["stream"]["evidence"]["makeboundsock"] == "EADDRINUSE"
    assert "<summary>EADDRINUSE</summary>" in page.read_text(encoding="utf-8")


def test_the_command_that_an_explanation_names_runs_the_cell_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(monkeypatch, "--explain", "dead-server") == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [line.removeprefix("  alone: ") for line in lines if line.startswith("  alone: ")]
    assert len(commands) == len(PROTOCOLS)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["/bin/sh", "-c", commands[0]], check=False, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0
    assert done.stdout.startswith("dead-server[stream]\n")


def test_markdown_of_one_property(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(monkeypatch, "--explain", "dead-server", "--markdown") == 0
    assert (
        capsys.readouterr().out.splitlines()[-1] == "| connect to a server that died before | EIO | EIO | EIO | EIO |"
    )


def test_an_unknown_property_is_64_and_nothing_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(table, "run_all", None)
    assert compare(monkeypatch, "--explain", "pendin") == 64
    told = capsys.readouterr().err
    assert told.startswith("imclab: no property 'pendin'; did you mean 'pending'?; the properties are before-accept, ")
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("file", "why"),
    [("", "it cannot be written"), ("nowhere/compare.html", "there is no folder"), (".", "it cannot be written")],
)
def test_a_page_that_cannot_be_written_is_64_and_nothing_is_started(
    file: str, why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(table, "run_all", None)
    monkeypatch.chdir(tmp_path)
    assert compare(monkeypatch, "--html", str(tmp_path / file)) == 64
    assert capsys.readouterr().err.startswith(f"imclab: {tmp_path / file}: {why}")


def test_a_page_that_turns_out_not_to_fit_is_64_and_the_table_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(monkeypatch, "--html", "/dev/full", "--explain", "kind-of-socket") == 64
    told = capsys.readouterr()
    assert "SEQPACKET" in told.out
    assert told.err.endswith("imclab: /dev/full: it cannot be written: No space left on device\n")


def test_two_forms_at_once_are_64(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(table, "run_all", None)
    assert compare(monkeypatch, "--json", "--markdown") == 64
    assert capsys.readouterr().err == "imclab: --json and --markdown: one of them\n"


def test_away_from_a_checkout_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(table, "EXPERIMENTS", tmp_path / "none")
    assert compare(monkeypatch) == 64
    told = capsys.readouterr().err
    assert told == f"imclab: {tmp_path / 'none'} is not there: compare runs the topologies of a checkout\n"


def test_an_experiment_that_fails_is_told_with_its_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    original = (table.EXPERIMENTS / "dead-server.imclab.yaml").read_text(encoding="utf-8")
    (tmp_path / "dead-server.imclab.yaml").write_text(original.replace("error: EIO", "error: EPERM"), encoding="utf-8")
    monkeypatch.setattr(table, "EXPERIMENTS", tmp_path)
    assert compare(monkeypatch, "--explain", "dead-server") == 1
    told = capsys.readouterr()
    assert "stream: ? failed\n  reason: client: connect to server: expected EPERM, got EIO" in told.out
    assert "repeat it: imclab run -v --set protocol=stream" in told.err


def test_what_draws_tables_is_loaded_for_compare_alone() -> None:
    loaded = "any(name.startswith(('rich.table', 'harness.compare')) for name in sys.modules)"
    code = f"import sys, harness.cli; sys.exit({loaded})"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
