"""Workers that are no Python: a C program that speaks IMC by itself, shell scripts, a server made for systemd."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from harness import Outcome, Status, run_topology
from harness.events import AddressExported
from sandbox.protocols import PROTOCOLS
from tests.harness.written import write

SOURCE: Final = Path(__file__).parents[1] / "native" / "worker.c"
DESCRIPTOR_PROTOCOLS: Final = ("socketpair", "acknowledged")


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the C worker's program, compiled once for all processes of the session."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.getbasetemp().parent
    program = folder / "imc-worker"
    with (folder / "imc-worker.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
            subprocess.run([compiler, *flags, "-o", f"{program}.new", str(SOURCE)], check=True)
            Path(f"{program}.new").replace(program)
    return program


def test_the_c_worker_has_less_than_300_lines() -> None:
    assert len(SOURCE.read_text(encoding="utf-8").splitlines()) < 300


INTRODUCTION: Final = """
defaults: {{protocol: {protocol}, env: {{IMC_PROTOCOL: {protocol}}}}}
workers:
  alice: {{service_port: unexported, {alice}}}
  bob:   {{service_port: exported, {bob}}}
  carol: {{service_port: exported, {carol}}}
routes:
  - {{grant: bob, to: alice}}
  - {{grant: carol, to: alice, as: friend}}
"""
IN_PYTHON: Final = {name: f'program: "written_in_python:{name}"' for name in ("alice", "bob", "carol")}
WRITTEN_IN_PYTHON: Final = """
    def alice(worker):
        bob = worker.imc.imc_connect(worker.imports["bob"])
        worker.imc.imc_sendmsg(bob, b"meet carol", [worker.imports["friend"]])

    def bob(worker):
        connection = worker.imc.imc_accept(worker.bound_socket)
        message = worker.imc.imc_recvmsg(connection)
        worker.report("heard", message.data.decode())
        worker.imc.imc_sendmsg(worker.imc.imc_connect(message.descriptors[0]), b"hi")

    def carol(worker):
        connection = worker.imc.imc_accept(worker.bound_socket)
        message = worker.imc.imc_recvmsg(connection)
        worker.report("heard", message.data.decode())
"""


@pytest.mark.parametrize("in_c", ["alice", "bob", "alice bob"])
@pytest.mark.parametrize("protocol", DESCRIPTOR_PROTOCOLS)
def test_c_and_python_introduce_one_another(protocol: str, in_c: str, worker: Path, tmp_path: Path) -> None:
    roles = {"alice": f"command: [{worker}, introduce, bob, friend]", "bob": f"command: [{worker}, meet]"}
    parts = {**IN_PYTHON, **{name: roles[name] for name in in_c.split()}}
    topology = INTRODUCTION.format(protocol=protocol, **parts)
    outcome = run_topology(write(tmp_path, topology, written_in_python=WRITTEN_IN_PYTHON))
    assert outcome.reason == "all as expected"
    assert outcome.workers["carol"].reports == {"heard": "hi"}
    assert outcome.workers["bob"].reports == ({} if "bob" in in_c else {"heard": "meet carol"})


ECHO_STEPS: Final = """
  - {at: probe, do: connect, address: echo, as: c}
  - {at: probe, do: sendmsg, socket: c, data: plain}
  - {at: probe, do: recvmsg, socket: c, expect: {data: plain, descriptors: []}}
  - {at: probe, do: sendmsg, socket: c, data: {size: 131072}}
  - {at: probe, do: recvmsg, socket: c, expect: {data: {size: 131072}}}
  - {at: probe, do: socketpair, as: [left, right]}
  - {at: probe, do: sendmsg, socket: c, data: both, descriptors: [left, address]}
  - {at: probe, do: recvmsg, socket: c, as: [back, own],
     expect: {data: both, descriptors: [DataOnlySocket, SocketAddress]}}
  - {at: probe, do: sendmsg, socket: right, data: through C}
  - {at: probe, do: recvmsg, socket: back, expect: {data: through C}}
  - {at: probe, do: sendmsg, socket: c, descriptors: [left, left, left, left, left, left, left, left]}
  - {at: probe, do: recvmsg, socket: c, expect: {data: "", descriptors: [DataOnlySocket, DataOnlySocket, DataOnlySocket,
     DataOnlySocket, DataOnlySocket, DataOnlySocket, DataOnlySocket, DataOnlySocket]}}
"""


@pytest.mark.parametrize("protocol", DESCRIPTOR_PROTOCOLS)
def test_data_and_descriptors_go_through_c_and_back(protocol: str, worker: Path, tmp_path: Path) -> None:
    topology = f"""
defaults: {{protocol: {protocol}, service_port: exported}}
workers:
  echo:  {{command: [{worker}, echo], env: {{IMC_PROTOCOL: {protocol}}}}}
  probe: {{program: "sandbox.programs.probe:main"}}
routes: [{{grant: echo, to: probe}}]
scenario:{ECHO_STEPS}"""
    outcome = run_topology(write(tmp_path, topology))
    assert outcome.reason == "all as expected"


@pytest.mark.parametrize("descriptor", ["memory", "INVALID"])
def test_c_refuses_what_it_does_not_know(descriptor: str, worker: Path, tmp_path: Path) -> None:
    topology = f"""
defaults: {{protocol: socketpair, service_port: exported}}
workers:
  echo:  {{command: [{worker}, echo]}}
  probe: {{program: "sandbox.programs.probe:main"}}
routes: [{{grant: echo, to: probe}}]
scenario:
  - {{at: probe, do: mem_obj_create, as: memory}}
  - {{at: probe, do: connect, address: echo, as: c}}
  - {{at: probe, do: sendmsg, socket: c, descriptors: [{descriptor}]}}
  - {{at: probe, do: recvmsg, socket: c, expect: {{error: EIO}}}}
"""
    assert run_topology(write(tmp_path, topology)).reason == "all as expected"


@pytest.mark.parametrize("protocol", DESCRIPTOR_PROTOCOLS)
@pytest.mark.parametrize("importer", ["python", "c"])
@pytest.mark.parametrize("name", ["extra", ""])
def test_c_exports_an_address_of_its_own_making(
    name: str, importer: str, protocol: str, worker: Path, tmp_path: Path
) -> None:
    greets = """
        def main(worker):
            c = worker.imc.imc_connect(worker.imports["it"])
            worker.imc.imc_sendmsg(c, b"hello from C")
            print("granted it")
            print("answered", worker.imc.imc_recvmsg(c).data.decode())
    """
    settings = {
        "python": 'program: "greets:main"',
        "c": f"command: [{worker}, import], env: {{IMC_PROTOCOL: {protocol}}}",
    }
    topology = f"""
        defaults: {{protocol: {protocol}}}
        workers:
          maker: {{command: [{worker}, export, {name}], grants: messages, env: {{IMC_PROTOCOL: {protocol}}}}}
          user:  {{{settings[importer]}}}
        routes: [{{grant: maker{"." if name else ""}{name}, to: user, as: it}}]
    """
    outcome = run_topology(write(tmp_path, topology, greets=greets))
    assert outcome.reason == "all as expected"
    assert outcome.workers["user"].stdout.text() == "granted it\nanswered hello from C\n"


@pytest.mark.parametrize("protocol", DESCRIPTOR_PROTOCOLS)
def test_c_is_granted_by_a_message_what_is_there_from_the_start(protocol: str, worker: Path, tmp_path: Path) -> None:
    topology = f"""
        defaults: {{protocol: {protocol}, env: {{IMC_PROTOCOL: {protocol}}}}}
        workers:
          echo: {{command: [{worker}, echo], service_port: exported}}
          user: {{command: [{worker}, import], grants: messages}}
        routes: [{{grant: echo, to: user, as: the-echo}}]
    """
    outcome = run_topology(write(tmp_path, topology))
    assert outcome.reason == "all as expected"
    assert outcome.workers["user"].stdout.text() == "granted the-echo\nanswered hello from C\n"


# A module under a loader of its own, which knows nothing of us


MODULE: Final = """
    from sandbox.imc import Imc
    from sandbox.descriptors import SocketAddress

    def main(worker):
        channel = worker.inherited["descriptor_5"]
        bound, address = worker.imc.imc_makeboundsock()
        # Under datagram the global descriptor is a service port, and a module without -X makes its own.
        imc = Imc(worker.imc.protocol, global_fd=bound if worker.imc.protocol == "datagram" else None)
        imc.imc_sendmsg(channel, b"", (address,))
        address.close()
        message = imc.imc_recvmsg(channel)
        (granted,) = message.descriptors
        connection = imc.imc_connect(granted)
        imc.imc_sendmsg(connection, b"granted " + message.data)
        served = imc.imc_accept(bound)
        imc.imc_sendmsg(served, imc.imc_recvmsg(served).data.upper())
        assert isinstance(granted, SocketAddress)
"""


@pytest.mark.parametrize("port", ["", "service_port: exported"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_module_that_knows_its_descriptor_5_alone_exports_and_is_granted(
    protocol: str, port: str, tmp_path: Path
) -> None:
    topology = f"""
        defaults: {{protocol: {protocol}}}
        workers:
          loaded: {{command: [imclab, sel-ldr, -i, "5:5", --, "module:main"], grants: messages, {port}}}
          probe: {{program: "sandbox.programs.probe:main", service_port: exported}}
        kinds: {{}}
        routes: [{{grant: loaded, to: probe}}, {{grant: probe, to: loaded, as: the-probe}}]
        scenario:
          - {{at: probe, do: accept, as: c}}
          - {{at: probe, do: recvmsg, socket: c, expect: {{data: granted the-probe}}}}
          - {{at: probe, do: connect, address: loaded, as: d}}
          - {{at: probe, do: sendmsg, socket: d, data: hello}}
          - {{at: probe, do: recvmsg, socket: d, expect: {{data: HELLO}}}}
    """.replace(", }", f", env: {{IMCLAB_PROTOCOL: {protocol}}}}}").replace(
        "exported}", f"exported, env: {{IMCLAB_PROTOCOL: {protocol}}}}}"
    )
    outcome = run_topology(write(tmp_path, topology, module=MODULE))
    assert outcome.reason == "all as expected", outcome.workers["loaded"].stderr.text()


# Scripts


def run_script(tmp_path: Path, script: str, settings: str = "", mode: int = 0o755) -> Outcome:
    """Run one worker that is a script."""
    file = tmp_path / "script.sh"
    file.write_text(script, encoding="utf-8")
    file.chmod(mode)
    topology = f"""
        workers:
          it: {{command: [./script.sh, one, "two words"], protocol: socketpair{settings}}}
    """
    return run_topology(write(tmp_path, topology))


def test_a_script_has_its_arguments_its_environment_and_its_folder(tmp_path: Path) -> None:
    script = '#!/bin/sh\necho "$#: $2"\npwd\nread name <&9\necho $name\necho $GIVEN >&2\nexit 3\n'
    settings = ', env: {GIVEN: "yes"}, inherit: [{descriptor: 9, file: script.sh, mode: r}]'
    outcome = run_script(tmp_path, script, settings)
    assert outcome.workers["it"].stdout.text() == f"2: two words\n{tmp_path.resolve()}\n#!/bin/sh\n"
    assert outcome.workers["it"].stderr.text() == "yes\n"
    assert outcome.reason == "it exited with 3, where the topology expects that it exited with 0"


def test_its_whole_environment_is_what_the_topology_gives_and_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMCLAB_TEST_SECRET", "must not get in")
    topology = """
        workers:
          it:
            command: [env]
            protocol: socketpair
            env: {A: "1"}
            inherit: [{descriptor: 8, file: f, mode: rw, as: log}]
    """
    (tmp_path / "f").touch()
    outcome = run_topology(write(tmp_path, topology))
    found = dict(line.split("=", 1) for line in outcome.workers["it"].stdout.text().splitlines())
    assert found.pop("LISTEN_PID").isdecimal()
    assert found == {
        "A": "1",
        "LISTEN_FDS": "6",
        "LISTEN_FDNAMES": "unused:unused:control_channel:unused:unused:log",
    }


LOOK: Final = """
    import json, os, signal, sys
    named = dict(enumerate(os.environ["LISTEN_FDNAMES"].split(":"), 3))
    print(json.dumps({
        "for me": int(os.environ["LISTEN_PID"]) == os.getpid(),
        "links": {n: os.readlink(f"/proc/self/fd/{n}").split(":")[0] for n in os.listdir("/proc/self/fd")
                  if os.path.exists(f"/proc/self/fd/{n}")},
        "names": named,
        "default": all(signal.getsignal(n) is signal.SIG_DFL for n in (signal.SIGTERM, signal.SIGCHLD)),
        "status": [line.split() for line in open("/proc/self/status") if line.startswith("SigBlk")],
    }))
"""


def test_descriptors_have_their_names_and_unused_numbers_are_the_null_device(tmp_path: Path) -> None:
    topology = f"""
        defaults: {{protocol: socketpair}}
        workers:
          it:    {{command: [{sys.executable}, -I, look.py], service_port: exported}}
          other: {{program: "idle:main", service_port: exported}}
        routes: [{{grant: other, to: it, as: import-of-other}}]
        channels: [{{between: [it.8, other.9], kind: data_only, as: side}}]
    """
    file = write(tmp_path, topology, look=LOOK, idle="def main(worker): pass\n")
    outcome = run_topology(file)
    found = json.loads(outcome.workers["it"].stdout.text())
    names = {
        "3": "bound_socket",
        "4": "address",
        "5": "control_channel",
        "6": "import-of-other",
        "7": "unused",
        "8": "side",
    }
    assert found["names"] == names
    assert found["for me"]
    assert found["default"]
    assert found["status"] == [["SigBlk:", "0000000000000000"]]
    null, sock = "/dev/null", "socket"
    links = {"0": null, "1": "pipe", "2": "pipe", "3": sock, "4": sock, "5": sock, "6": sock, "7": null, "8": sock}
    assert {number: link for number, link in found["links"].items() if link != f"/proc/{os.getpid()}"} == links
    exports = [event.worker for event in outcome.events if isinstance(event, AddressExported)]
    assert sorted(exports) == ["it", "other"]


def test_signals_that_python_ignores_are_at_their_default_again(tmp_path: Path) -> None:
    # Were SIGPIPE ignored, head's end would give `yes` an error to report, and the shell a status of 1.
    outcome = run_script(tmp_path, "#!/bin/bash\nyes | head -1\necho ${PIPESTATUS[0]}\ngrep SigIgn /proc/self/status\n")
    *lines, ignored = outcome.workers["it"].stdout.text().splitlines()
    assert lines == ["y", "141"]
    # The two that the C library keeps to itself, 32 and 33, are as our own caller left them.
    assert int(ignored.split()[1], 16) & ~(0b11 << 31) == 0


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        ("#!/nowhere/interpreter\n", 127, "No such file or directory"),
        ("\x7fELF garbage", 126, "Exec format error"),
    ],
)
def test_what_cannot_be_executed_ends_as_in_a_shell(content: str, status: int, told: str, tmp_path: Path) -> None:
    outcome = run_script(tmp_path, content)
    assert outcome.workers["it"].exit_status == status
    assert outcome.workers["it"].stderr.text() == f"imclab: cannot execute {tmp_path.resolve()}/script.sh: {told}\n"


def test_a_signal_that_ends_it_is_its_exit_status(tmp_path: Path) -> None:
    outcome = run_script(tmp_path, "#!/bin/sh\nkill -TERM $$\n")
    assert outcome.workers["it"].exit_status == -15


def test_a_script_that_ends_with_its_control_channel_stops_in_order(tmp_path: Path) -> None:
    topology = """
        defaults: {protocol: socketpair}
        workers:
          it: {command: [cat], protocol: socketpair}
          probe: {program: "sandbox.programs.probe:main"}
        scenario: [{at: probe, do: socketpair}]
    """
    # cat reads its stdin, the null device, and is done at once.
    assert run_topology(write(tmp_path, topology)).passed
    reads = topology.replace("[cat]", "[sh, -c, 'cat <&5']")
    outcome = run_topology(write(tmp_path, reads))
    assert (outcome.status, outcome.workers["it"].exit_status) == (Status.PASSED, 0)


# A server that was written for systemd


SYSTEMD_SERVER: Final = """
    import os
    import socket
    import sys

    def listen_fds():
        if os.environ.get("LISTEN_PID") != str(os.getpid()):
            return {}
        names = os.environ.get("LISTEN_FDNAMES", "").split(":")
        return {name: 3 + index for index, name in enumerate(names[:int(os.environ["LISTEN_FDS"])])}

    listener = socket.socket(fileno=listen_fds()["bound_socket"])
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    for _ in range(2):
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)
"""


def test_a_server_that_takes_listen_fds_serves_workers(tmp_path: Path) -> None:
    topology = f"""
        defaults: {{protocol: stream, program: "sandbox.programs.probe:main"}}
        workers:
          server: {{command: [{sys.executable}, -I, server.py], service_port: exported}}
          one: {{}}
          two: {{}}
        routes: [{{grant: server, to: one}}, {{grant: server, to: two}}]
        scenario:
          - {{at: one, do: connect, address: server, as: c}}
          - {{at: two, do: connect, address: server, as: c}}
          - {{at: one, do: sendmsg, socket: c, data: hello}}
          - {{at: one, do: recvmsg, socket: c, expect: {{data: hello}}}}
          - {{at: one, do: close, descriptor: c}}
          - {{at: two, do: sendmsg, socket: c, data: hello too}}
          - {{at: two, do: recvmsg, socket: c, expect: {{data: hello too}}}}
          - {{at: two, do: close, descriptor: c}}
    """
    outcome = run_topology(write(tmp_path, topology, server=SYSTEMD_SERVER))
    assert outcome.reason == "all as expected", outcome.workers["server"].stderr.text()
