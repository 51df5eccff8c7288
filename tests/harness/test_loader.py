"""Modules that are loaded by `imclab sel-ldr`, as another program would start sel_ldr."""

import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import psutil
import pytest

from sandbox.descriptors import ConnectedSocket, SocketAddress
from sandbox.imc import Imc
from sandbox.protocols import PROTOCOLS
from tests.command import Command, finished
from tests.sandbox.vectors import VECTORS

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = [sys.executable, "-c", "from harness.command import main; main()", "sel-ldr"]
SHELL: Final = "/bin/sh"


def load(*arguments: str, **rest: Any) -> subprocess.CompletedProcess[str]:
    """Run a module to its end, with an empty environment unless one is given."""
    return finished(["sel-ldr", *arguments], **{"env": {}, "errors": "backslashreplace", **rest})


def sh(script: str, *options: str, **rest: Any) -> subprocess.CompletedProcess[str]:
    """Run a shell script as a module."""
    return load(*options, "--", SHELL, "-c", script, **rest)


def module(folder: Path, source: str) -> str:
    """Write a Python module, and return what names its function."""
    (folder / "written.py").write_text(dedent(source), encoding="utf-8")
    return "written:main"


LOOK: Final = """
    import json, os, sys

    def main(worker):
        descriptors = {}
        for name in os.listdir("/proc/self/fd"):
            try:
                descriptors[name] = os.readlink(f"/proc/self/fd/{name}").split(":")[0]
            except FileNotFoundError:
                "listdir's own"
        print(json.dumps({
            "descriptors": descriptors,
            "argv": sys.argv,
            "environ": dict(os.environ),
            "port": [worker.bound_socket is not None, worker.address is not None],
            "inherited": {name: type(held).__name__ for name, held in worker.inherited.items()},
            "imports": list(worker.imports),
        }))
"""


def look(folder: Path, *options: str, **rest: Any) -> dict[str, Any]:
    """Return what a module finds."""
    done = load(*options, "--", module(folder, LOOK), "x", "-v", cwd=folder, **rest)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# Exit status


@pytest.mark.parametrize(("status", "told"), [(0, 0), (42, 42), (255, 255)])
def test_the_status_of_the_module_is_ours(status: int, told: int) -> None:
    assert sh(f"exit {status}").returncode == told


@pytest.mark.parametrize(("returned", "told"), [("300", 44), ("-1", 255), ("None", 0)])
def test_what_a_python_module_returns_is_taken_modulo_256(returned: str, told: int, tmp_path: Path) -> None:
    name = module(tmp_path, f"def main(worker): return {returned}\n")
    assert load(name, cwd=tmp_path).returncode == told


@pytest.mark.parametrize(
    ("name", "told"), [("SEGV", 245), ("FPE", 248), ("ILL", 252), ("ABRT", 250), ("TERM", 241), ("INT", 254)]
)
def test_a_signal_in_the_module_is_told_and_is_the_status(name: str, told: int) -> None:
    done = sh(f"kill -{name} $$")
    assert done.returncode == told
    assert done.stderr == f"** Signal {int(signal.Signals[f'SIG{name}'])} from untrusted code\n"


@pytest.mark.parametrize(("number", "told"), [(signal.SIGTERM, 241), (signal.SIGINT, 254), (signal.SIGHUP, 255)])
def test_a_signal_to_us_ends_the_module_and_is_told_as_its_own(number: int, told: int) -> None:
    with started("--", SHELL, "-c", "echo up; exec sleep 100", stderr=subprocess.PIPE) as process:
        wait_until_up(process)
        process.send_signal(number)
        _, said = process.communicate(timeout=10)
    assert process.returncode == told
    assert said == b"** Signal %d from untrusted code\n" % number


@contextmanager
def started(*arguments: str, **rest: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start a module that does not end by itself."""
    with Command(["sel-ldr", *arguments], **{"env": {}, "stdout": subprocess.PIPE, **rest}) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_up(process: subprocess.Popen[Any]) -> None:
    """Wait until the module has written "up"."""
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"


def test_when_we_are_killed_the_module_is_gone() -> None:
    with started("--", SHELL, "-c", "sleep 1000 & echo up; wait") as process:
        wait_until_up(process)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2
        process.kill()
        assert psutil.wait_procs(family, timeout=10)[1] == []


def test_a_module_that_is_missing_or_invalid_is_1(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program\n", encoding="utf-8")
    (tmp_path / "garbage").write_bytes(b"\x7fELF garbage")
    (tmp_path / "garbage").chmod(0o755)
    (tmp_path / "folder").mkdir()
    for name, text in (("nowhere", "no module 'nowhere'"), ("text", "'text' is no"), ("folder", "'folder' is no")):
        done = load(name, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert text in done.stderr
    assert load("garbage", cwd=tmp_path).returncode == 1
    assert load("nowhere:main", cwd=tmp_path).returncode == 1


def test_the_first_mistake_in_sel_ldr_s_order_is_told(tmp_path: Path) -> None:
    assert load("-x", "-l", "/nowhere/log", "nowhere").returncode == 255
    assert "/nowhere/log" in load("-l", "/nowhere/log", "-i", "5:99", "nowhere").stderr
    assert "no module" in load("-i", "5:99", "nowhere", cwd=tmp_path).stderr
    assert "we have no descriptor 99" in load("-i", "5:99", "-X", "7", SHELL).stderr
    assert "descriptor 7 is none of those of -i" in load("-X", "7", SHELL).stderr


def test_f_loads_and_quits(tmp_path: Path) -> None:
    name = module(tmp_path, "print('imported')\n")
    done = load("-F", name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "garbage").write_bytes(b"\x7fELF garbage")
    (tmp_path / "garbage").chmod(0o755)
    for none in ("nowhere", "nowhere:main", "./garbage"):
        assert load("-F", none, cwd=tmp_path).returncode == 1
    assert load("-F", SHELL).returncode == 0


# What a module finds


def test_a_module_finds_its_arguments_and_nothing_of_ours(tmp_path: Path) -> None:
    found = look(tmp_path, env={"SECRET": "x", "LANG": "C.UTF-8", "LC_ALL": "C"}, stdin=subprocess.DEVNULL)
    assert found == {
        "descriptors": {"0": "/dev/null", "1": "pipe", "2": "pipe"},
        "argv": ["NaClMain", "x", "-v"],
        "environ": {},
        "port": [False, False],
        "inherited": {},
        "imports": [],
    }


def test_a_native_module_is_naclmain_with_the_environment_that_is_for_it() -> None:
    done = load("-E", "B=2", "-f", "/usr/bin/env", env={"NACLENV_A": "1", "LANG": "C"})
    assert done.stdout.splitlines() == ["A=1", "B=2"]
    # The shell's read leaves out the null characters between the arguments.
    done = sh("read line </proc/self/cmdline; echo $line")
    assert done.stdout.startswith("NaClMain-cread line")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_service_port_is_3_and_4_and_only_with_x(protocol: str, tmp_path: Path) -> None:
    found = look(tmp_path, "-X", "-1", env={"IMCLAB_PROTOCOL": protocol})
    address = "/memfd" if protocol in ("stream", "datagram") else "socket"
    assert found["descriptors"] == {
        "0": found["descriptors"]["0"],
        "1": "pipe",
        "2": "pipe",
        "3": "socket",
        "4": address,
    }
    assert found["port"] == [True, True]


def test_descriptors_appear_where_asked_for_and_holes_stay_holes(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello", encoding="utf-8")
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right, (tmp_path / "text").open("rb") as text:
        numbers = (right.fileno(), text.fileno())
        options = ("-i", f"20:{numbers[0]}", "-r", f"9x{numbers[1]}")
        found = look(tmp_path, *options, pass_fds=numbers)
    assert set(found["descriptors"]) == {"0", "1", "2", "9", "20"}
    assert found["inherited"] == {"descriptor_9": "HostFile", "descriptor_20": "ConnectedSocket"}


def test_standard_descriptors_are_our_own() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin:
        os.write(writing, b"through")
        os.close(writing)
        assert load("/bin/cat", stdin=stdin).stdout == "through"


@pytest.mark.parametrize(
    ("option", "flags", "reads", "writes"),
    [
        ("-r", os.O_RDWR, True, False),
        ("-w", os.O_RDWR, False, True),
        ("-h", os.O_RDWR, True, True),
        ("-r", os.O_RDONLY, True, False),
        ("-h", os.O_RDONLY, True, False),
        ("-w", os.O_WRONLY, False, True),
    ],
)
def test_the_mode_is_enforced_at_the_same_place_of_the_file(
    option: str, flags: int, reads: bool, writes: bool, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    fd = os.open(file, flags)
    os.lseek(fd, 4, os.SEEK_SET)
    source = """
        import os

        def main(worker):
            for attempt in (lambda: os.read(9, 2).decode(), lambda: os.write(9, b"X")):
                try:
                    print(attempt())
                except OSError as error:
                    print(error.strerror)
    """
    try:
        done = load(option, f"9:{fd}", module(tmp_path, source), cwd=tmp_path, pass_fds=[fd])
    finally:
        os.close(fd)
    assert done.stdout.splitlines() == [
        "45" if reads else "Bad file descriptor",
        "1" if writes else "Bad file descriptor",
    ]
    place = 6 if reads else 4
    assert file.read_bytes()[place : place + 1] == (b"X" if writes else b"%d" % place)


@pytest.mark.parametrize(("option", "flags", "what"), [("-r", "O_WRONLY", "reading"), ("-w", "O_RDONLY", "writing")])
def test_a_descriptor_that_lacks_what_is_asked_for_is_refused(
    option: str, flags: str, what: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    fd = os.open(tmp_path / "file", getattr(os, flags))
    try:
        done = load(option, f"9:{fd}", SHELL, pass_fds=[fd])
    finally:
        os.close(fd)
    assert done.returncode == 1
    assert done.stderr == f"imclab sel-ldr: {option} 9:{fd}: ours is not open for {what}\n"


def test_what_we_open_ourselves_is_nothing_that_was_handed_down(tmp_path: Path) -> None:
    log = tmp_path / "log"
    # The lowest numbers are free, so that whatever is opened would have them.
    for number in range(3, 9):
        done = load("-l", str(log), "-i", f"5:{number}", "--", SHELL, "-c", "echo forged >&5")
        assert (done.returncode, log.read_text(encoding="utf-8")) == (1, "")
        assert done.stderr == f"imclab sel-ldr: -i 5:{number}: we have no descriptor {number}\n"
    closed = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "-l", str(log), "--", SHELL, "-c", "echo forged >&0"],
        env={"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        timeout=20,
    )
    assert closed.returncode == 2
    assert log.read_text(encoding="utf-8") == ""


def test_what_is_narrowed_still_appends(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123\n")
    fd = os.open(file, os.O_RDWR | os.O_APPEND)
    try:
        done = sh("echo more >&9", "-w", f"9:{fd}", pass_fds=[fd])
    finally:
        os.close(fd)
    assert done.returncode == 0
    assert file.read_bytes() == b"0123\nmore\n"


@pytest.mark.parametrize("number", ["63", "62"])
def test_a_number_just_below_the_limit_can_be_had_and_one_above_is_told(number: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("through\n", encoding="utf-8")
    fd = os.open(tmp_path / "file", os.O_RDONLY)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    rest: dict[str, Any] = {"pass_fds": [fd], "preexec_fn": limited, "capture_output": True}
    rest |= {"env": {"PYTHONPATH": str(ROOT)}, "text": True, "timeout": 20}
    try:
        done = subprocess.run(
            [*COMMAND, "-r", f"{number}:{fd}", "--", "/bin/cat", f"/proc/self/fd/{number}"], check=False, **rest
        )
        assert (done.returncode, done.stdout) == (0, "through\n")
        for beyond in ("64", "9" * 30):
            done = subprocess.run([*COMMAND, "-r", f"{beyond}:{fd}", SHELL], check=False, **rest)
            assert done.returncode == 1
            assert f"there can be no descriptor {beyond}, the limit is 64 (ulimit -n)" in done.stderr
    finally:
        os.close(fd)


def test_what_is_no_socket_is_a_connected_socket_that_fails(tmp_path: Path) -> None:
    source = """
        from sandbox.errors import ImcError

        def main(worker):
            print(list(worker.inherited))
            try:
                worker.inherited["descriptor_5"]
            except ImcError as error:
                print(error.errno)
    """
    with (tmp_path / "file").open("wb") as file:
        name = module(tmp_path, source)
        done = load("-i", f"5:{file.fileno()}", name, cwd=tmp_path, pass_fds=[file.fileno()])
    assert (done.returncode, done.stdout) == (0, "['descriptor_5']\n5\n")


@pytest.mark.parametrize("options", [(), ("-l", "/dev/full")])
def test_the_status_is_the_module_s_when_nobody_can_be_told(options: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = load(*options, "--", SHELL, "-c", "kill -SEGV $$", stderr=full)
    assert done.returncode == 245


def test_names_of_any_bytes_and_variables_without_a_name_stop_nothing(tmp_path: Path) -> None:
    script = tmp_path / "m\udcff"
    script.write_text("#!/bin/sh\nexit 7\n", encoding="utf-8")
    script.chmod(0o755)
    done = load("-l", str(tmp_path / "log"), "-v", "--", str(script), env={"NACLENV_": "x"})
    assert done.returncode == 7
    assert "Traceback" not in done.stderr


def test_what_cannot_be_narrowed_is_refused() -> None:
    left, right = socket.socketpair()
    with left, right:
        done = load("-r", f"9:{right.fileno()}", SHELL, pass_fds=[right.fileno()])
    assert done.returncode == 1
    assert f"-r 9:{right.fileno()}" not in done.stdout
    assert "it cannot be opened for less than it is" in done.stderr


# What is told


def test_the_log_is_appended_to_and_holds_the_signal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n", encoding="utf-8")
    sh("kill -TERM $$", "-l", str(log))
    assert log.read_text(encoding="utf-8") == "before\n** Signal 15 from untrusted code\n"
    sh("exit 3", env={"NACLLOG": str(log), "NACLVERBOSITY": "1"})
    assert log.read_text(encoding="utf-8").endswith(f"{SHELL}: ended with 3\n")


# As Native Client's launcher did


SERVER: Final = """
    def main(worker):
        connection = worker.imc.imc_accept(worker.bound_socket)
        message = worker.imc.imc_recvmsg(connection)
        worker.imc.imc_sendmsg(connection, message.data.upper())
"""


@pytest.mark.parametrize(("protocol", "layout"), [*((p, "") for p in PROTOCOLS), ("socketpair", "recent")])
def test_a_launcher_receives_the_address_and_connects_to_it(protocol: str, layout: str, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {"IMCLAB_PROTOCOL": protocol, "IMCLAB_LAYOUT": layout}
    number = theirs.fileno()
    options = ("-i", f"5:{number}", "-X", "5", "--", module(tmp_path, SERVER))
    with started(*options, cwd=tmp_path, env=environment, pass_fds=[number]) as process:
        theirs.close()
        own = Imc(protocol, layout or None)
        bound, _ = own.imc_makeboundsock()
        imc = Imc(protocol, layout or None, global_fd=bound if protocol == "datagram" else None)
        channel = ConnectedSocket(ours.detach())
        data, (address,), _ = imc.imc_recvmsg(channel)
        assert data == b""
        assert isinstance(address, SocketAddress)
        with imc.imc_connect(address) as connection:
            imc.imc_sendmsg(connection, b"hello")
            assert imc.imc_recvmsg(connection).data == b"HELLO"
        assert process.wait(10) == 0
        bound.close()
        address.close()
        channel.close()


def test_the_address_is_sent_in_the_bytes_of_native_client() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    number = theirs.fileno()
    with ours, started("-i", f"5:{number}", "-X", "5", "--", SHELL, "-c", ":", pass_fds=[number]):
        theirs.close()
        data, fds, _, _ = socket.recv_fds(ours, 4096, 8)
        # Nothing else comes, and the module's end of the channel closes with it.
        assert ours.recv(4096) == b""
    vectors = json.loads((VECTORS / "messages_2013.json").read_text(encoding="utf-8"))
    assert data.hex() in json.dumps(vectors)
    assert len(data) == 32
    assert len(fds) == 1
    assert stat.S_ISSOCK(os.fstat(fds[0]).st_mode)
    os.close(fds[0])


def test_the_launcher_sees_when_the_module_closes_its_descriptor() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    number = theirs.fileno()
    with (
        ours,
        started("-i", f"5:{number}", "--", SHELL, "-c", "exec 5>&-; exec sleep 100", pass_fds=[number]) as process,
    ):
        theirs.close()
        ours.settimeout(10)
        assert ours.recv(100) == b""
        assert process.poll() is None


def test_an_address_that_cannot_be_sent_is_1(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        done = load("-i", f"5:{file.fileno()}", "-X", "5", SHELL, pass_fds=[file.fileno()])
    assert done.returncode == 1
    assert "it is no socket" in done.stderr


def test_it_works_without_a_pid_namespace(tmp_path: Path) -> None:
    script = 'echo 0 > /proc/sys/user/max_pid_namespaces; exec "$@"'
    wrapped: Sequence[str] = ["unshare", "--user", "--map-root-user", SHELL, "-c", script, SHELL]
    allowed = subprocess.run([*wrapped, "true"], check=False, capture_output=True)
    if allowed.returncode:
        pytest.skip(f"no user namespaces here: {allowed.stderr.decode()}")
    orphan = tmp_path / "orphan"
    started_by_sh = [*wrapped, *COMMAND, SHELL, "-c", f"sleep 1000 & echo $! > {orphan}; exit 42"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    began = time.monotonic()
    done = subprocess.run(started_by_sh, env=environment, check=False, timeout=20)
    # Without a namespace nobody else ends it (ARCHITECTURE says so).
    os.kill(int(orphan.read_text()), signal.SIGKILL)
    assert done.returncode == 42
    assert time.monotonic() - began < 10
