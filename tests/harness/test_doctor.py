"""What works here, as found by trying; and that nothing is said to work that was not seen to work."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from harness import cli, doctor
from harness.doctor import Finding, examine, is_complete, report
from sandbox.confinement import namespaces, probe
from sandbox.confinement.confine import PR_SET_NO_NEW_PRIVS, Step, becoming
from sandbox.confinement.kernel import prctl
from sandbox.confinement.policy import Layer
from sandbox.confinement.seccomp import Program
from tests.children import in_child
from tests.command import finished

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = [sys.executable, "-c", "from harness.command import main; main()", "doctor"]

# linux/prctl.h, linux/securebits.h
PR_SET_SECUREBITS: Final = 28
SECBIT_NO_SETUID_FIXUP: Final = 1 << 2


def ran_by(*wrapper: str) -> subprocess.CompletedProcess[str]:
    if not wrapper:
        return finished(["doctor"])
    wrapped = [*wrapper, *COMMAND]
    return subprocess.run(wrapped, cwd=ROOT, check=False, capture_output=True, text=True, timeout=30)


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
        # Nobody but root is told of a uid of one's own.
        assert bool(said) == (finding.layer is layer and bool(finding.by))
    assert not is_complete(findings) or layer is Layer.OWN_UID


def nothing(*_: object, **__: object) -> int:
    return 0


def becoming_in_name(uid: int, parent: int) -> list[Step]:
    """Have the ids of another, and keep the powers of root."""
    prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    return becoming(uid, parent)


def refuse(*_: object) -> None:
    raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


# What is done to a layer, so that less is taken away than it says, and what is said of it then.
SPOILT: Final[dict[str, tuple[Layer, dict[str, object], str]]] = {
    "no_new_privs": (Layer.NO_NEW_PRIVS, {"probe.prctl": nothing}, "the kernel does not keep it"),
    "not_dumpable": (
        Layer.NOT_DUMPABLE,
        {"probe.prctl": nothing},
        "another process of the same user can look into it",
    ),
    "capabilities": (Layer.CAPABILITIES, {"probe.take": nothing}, "some are left"),
    "own_uid": (Layer.OWN_UID, {"probe.take": nothing}, "it is somebody else still"),
    "own_uid with powers": (Layer.OWN_UID, {"probe.becoming": becoming_in_name}, "it opens what is another's alone"),
    "ipc_namespace": (Layer.IPC_NAMESPACE, {"probe.unshare": nothing}, "it is the same one as before"),
    "ipc_namespace with memory": (Layer.IPC_NAMESPACE, {"probe._leave": nothing}, "memory of others is in it"),
    "uts_namespace": (Layer.UTS_NAMESPACE, {"probe.unshare": nothing}, "it is the same one as before"),
    "uts_namespace with the name": (
        Layer.UTS_NAMESPACE,
        {"namespaces.forget_host_name": nothing},
        "the host's name is in it",
    ),
    "network_namespace": (Layer.NETWORK_NAMESPACE, {"probe.unshare": nothing}, "it is the same one as before"),
    "network_namespace with names": (
        Layer.NETWORK_NAMESPACE,
        {"probe._leave": nothing},
        "abstract names of others are in it",
    ),
    "network_namespace with a way": (
        Layer.NETWORK_NAMESPACE,
        {"probe._leave": nothing, "probe._connect": refuse},
        "there is a way out of it",
    ),
    "user_namespace": (Layer.USER_NAMESPACE, {"probe.take": nothing}, "users of others are in it"),
    "empty_root": (Layer.EMPTY_ROOT, {"probe.unshare": nothing}, "it is the same one as before"),
    "empty_root with files": (Layer.EMPTY_ROOT, {"namespaces.make_root": nothing}, "it is not empty"),
    "landlock": (Layer.LANDLOCK, {"landlock.restrict": nothing}, "files can be opened"),
    "landlock with connecting": (Layer.LANDLOCK, {"landlock.ACCESS_NET": 0b01}, "TCP ports can be connected to"),
    "landlock with binding": (Layer.LANDLOCK, {"landlock.ACCESS_NET": 0b10}, "TCP ports can be bound"),
    "landlock with names": (
        Layer.LANDLOCK,
        {"landlock.SCOPE_ABSTRACT_UNIX_SOCKET": 0},
        "abstract names of others can be used",
    ),
    "landlock with signals": (Layer.LANDLOCK, {"landlock.SCOPE_SIGNAL": 0}, "others can be signalled"),
    "seccomp": (Layer.SECCOMP, {"seccomp.Program.load": nothing}, "a call that is refused can be made"),
}


@pytest.mark.parametrize("who", ["root", "user"])
@pytest.mark.parametrize("case", SPOILT)
def test_a_layer_that_takes_nothing_away_does_not_work(case: str, who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, changes, said = SPOILT[case]
    if who == "root" and os.geteuid():
        pytest.skip("only root is root")
    if who == "user" and layer is Layer.OWN_UID:
        pytest.skip("it is root's")
    begin = doctor._as_root if who == "root" else doctor._as_user
    assert doctor._in_a_child(lambda: probe.lacking([layer]), begin) == {}
    for place, instead in changes.items():
        monkeypatch.setattr(f"sandbox.confinement.{place}", instead)
    assert doctor._in_a_child(lambda: probe.lacking([layer]), begin) == {layer.value: said}


def test_whoever_is_no_child_of_an_init_is_in_no_pid_namespace() -> None:
    found = doctor._in_a_child(lambda: probe.lacking([Layer.PID_NAMESPACE]), lambda: None)
    assert found == {"pid_namespace": "the zygote could not be cloned into one"}


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


def test_root_that_cannot_become_a_user_says_so_and_claims_nothing_of_one() -> None:
    wrapper = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*wrapper, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    lines = ran_by(*wrapper).stdout.splitlines()
    assert lines[0].split()[:3] == ["layer", "root", "what"]
    assert "user: not tried, for root cannot become one here: this user namespace has no id for it" in lines
    assert "landlock  " in "".join(lines)


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


def test_where_nobody_hears_what_is_refused_that_is_noted_and_nothing_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kernel without user notification."""
    said = "[Errno 22] Invalid argument"
    assert probe.listening() is None
    assert [finding for finding in examine() if finding.note] == []
    monkeypatch.setattr(probe, "listening", lambda: said)
    findings = examine()
    assert {finding.layer for finding in findings if finding.note} == {Layer.SECCOMP}
    assert report(findings).endswith(f"\n\nseccomp: which calls it refuses cannot be told here: {said}")
    monkeypatch.undo()
    assert is_complete(findings) == is_complete(examine())


@in_child
def test_where_there_is_a_listener_already_it_is_seen_that_there_can_be_no_other() -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    Program(probe.ALLOW_ALL).load_listening()
    assert probe.listening() == "[Errno 16] Device or resource busy"


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
