"""What works here, as found by trying; and that nothing is said to work that was not seen to work."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from harness import cli
from harness.doctor import Finding, examine, is_complete, report
from sandbox.confinement import namespaces, probe
from sandbox.confinement.policy import Layer

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = [sys.executable, "-c", "from harness.command import main; main()", "doctor"]


def ran_by(*wrapper: str) -> subprocess.CompletedProcess[str]:
    command = [*wrapper, *COMMAND]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=30)


def test_every_layer_is_tried_and_told() -> None:
    findings = examine()
    assert [finding.layer for finding in findings] == list(Layer)
    whose = ["root", "user"] if os.geteuid() == 0 else ["user"]
    for finding in findings:
        assert list(finding.by) == [who for who in whose if (finding.layer, who) != (Layer.OWN_UID, "user")]


def test_what_is_told_is_what_a_run_finds() -> None:
    done = ran_by()
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1 : 1 + len(Layer)]] == [layer.value for layer in Layer]
    assert done.returncode == (69 if any("missing" in line.split()[:2] for line in lines) else 0)


@pytest.mark.parametrize("layer", Layer)
def test_a_layer_that_does_not_work_is_told_with_what_the_kernel_says(
    layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(probe, "ATTEMPTS", {**probe.ATTEMPTS, layer: fail})
    findings = examine()
    for finding in findings:
        said = {who: text for who, text in finding.by.items() if text is not None and "38" in text}
        assert bool(said) == (finding.layer is layer)
    assert not is_complete(findings) or layer is Layer.OWN_UID


def test_a_look_that_fails_altogether_finds_nothing_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("harness.doctor.probe.lacking", fail)
    assert {text for finding in examine() for text in finding.by.values()} == {"a bug"}


def test_whoever_dies_in_the_attempt_did_not_succeed() -> None:
    assert probe.attempted(lambda: os.kill(os.getpid(), 9)) == "whoever tried it ended with -9"
    assert probe.attempted(lambda: None) is None
    assert probe.attempted(lambda: os._exit(3)) == "whoever tried it ended with 3"


def test_where_user_namespaces_are_off_the_layers_that_need_them_are_missing() -> None:
    off = 'echo 0 > /proc/sys/user/max_user_namespaces && echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    wrapper = ["unshare", "--user", "--map-root-user", "/bin/sh", "-c", off, "sh"]
    if subprocess.run([*wrapper, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    done = ran_by(*wrapper)
    missing = [line.split()[0] for line in done.stdout.splitlines()[1:13] if line.split()[1] == "missing"]
    assert missing == ["own_uid", "network_namespace", "user_namespace"]
    assert done.returncode == 69
    assert "network_namespace, root: [Errno 28] No space left on device; allow user namespaces" in done.stdout


def test_the_report_is_a_table_and_what_to_do() -> None:
    findings = [
        Finding(Layer.OWN_UID, {"root": None}),
        Finding(Layer.LANDLOCK, {"root": None, "user": "version 3, where 6 is needed"}),
    ]
    first = [Finding(Layer.SECCOMP, {"root": None, "user": None}), *findings]
    assert report(first) == (
        "layer     root     user     what it does\n"
        "seccomp   works    works    no system call but those on a list\n"
        "own_uid   works    -        a user of its own, for root to give\n"
        "landlock  works    missing  no file, no TCP port, no abstract name, no signal to others, whatever the root "
        "shows\n"
        "\n"
        "landlock, user: version 3, where 6 is needed; a kernel of 6.12 or newer, with landlock among its LSMs "
        "(lsm=landlock,… on its command line)"
    )


def test_the_command_tells_it_and_its_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for said, status in ((None, 0), ("no such thing", 69)):
        monkeypatch.setattr(cli, "examine", lambda said=said: [Finding(Layer.SECCOMP, {"user": said})])
        monkeypatch.setattr(sys, "argv", ["imclab", "doctor"])
        assert cli.status_of_command() == status
        assert ("no such thing" in capsys.readouterr().out) == bool(status)


def test_an_empty_root_is_empty_but_for_what_is_shown() -> None:
    if os.geteuid():
        pytest.skip("only root may make namespaces without one of users")

    def look() -> None:
        namespaces.make(["mnt"], [str(ROOT / "harness"), "/etc/hostname"])
        seen = sorted(str(path) for path in Path("/").rglob("*") if path.is_dir() and len(path.parts) < 4)
        assert Path("/etc/hostname").exists()
        assert not Path("/etc/passwd").exists()
        assert not Path("/proc/self").exists()
        assert {"/etc", *map(str, ROOT.parents)} - {"/"} <= {*seen, str(ROOT.parent)}
        assert (ROOT / "harness" / "doctor.py").exists()
        assert not (ROOT / "sandbox").exists()
        with pytest.raises(OSError, match="Read-only file system"):
            (ROOT / "harness" / "new").touch()
        with pytest.raises(OSError, match="Read-only file system"):
            Path("/new").touch()

    assert probe.attempted(look) is None
