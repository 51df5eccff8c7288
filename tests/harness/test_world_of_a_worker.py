"""What a worker finds when it starts: its descriptors, its environment, its address, and nothing else."""

from pathlib import Path
from typing import Any

import pytest

from harness import Status, run_topology
from harness.events import AddressExported, RunStarted, WorkerReady
from sandbox.protocols import PROTOCOLS
from tests.harness.written import ONE_WORKER, write

LOOK = """
    import os

    def main(worker):
        links = {}
        for name in os.listdir("/proc/self/fd"):
            try:
                links[name] = os.readlink(f"/proc/self/fd/{name}")
            except FileNotFoundError:
                "listdir's own"
        worker.report("descriptors", links)
        worker.report("environ", dict(os.environ))
        worker.report("initial environ", open("/proc/self/environ").read())
        worker.report("imports", {name: address.fileno() for name, address in worker.imports.items()})
        worker.report("identities", {name: address.identity() for name, address in worker.imports.items()})
        worker.report("port", [
            worker.bound_socket and worker.bound_socket.fileno(), worker.address and worker.address.fileno()
        ])
        worker.report("args", dict(worker.args))
        worker.report("session", os.getsid(0) != os.getpid())
"""


def look(tmp_path: Path, protocol: str, **worker: str) -> dict[str, Any]:
    """Run `LOOK` in a worker that imports two addresses, and return what it reported."""
    settings = "".join(f", {key}: {value}" for key, value in worker.items())
    topology = f"""
        defaults: {{protocol: {protocol}, program: "guest:main"}}
        workers:
          guest: {{program: "look:main"{settings}}}
          one: {{service_port: exported}}
          two: {{service_port: exported}}
        routes:
          - {{grant: two, to: guest, as: second}}
          - {{grant: one, to: guest}}
    """
    outcome = run_topology(write(tmp_path, topology, look=LOOK, guest="def main(worker): pass\n"))
    assert outcome.passed, outcome
    return dict(outcome.workers["guest"].reports)


@pytest.mark.parametrize("service_port", ["none", "exported", "unexported"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_but_the_listed_descriptors_is_open(protocol: str, service_port: str, tmp_path: Path) -> None:
    found = look(tmp_path, protocol, service_port=service_port)
    links = {int(number): link.split(":")[0].split("-")[0] for number, link in found["descriptors"].items()}
    address = "/memfd" if protocol in ("stream", "datagram") else "socket"
    ports = {3: "/dev/null", 4: "/dev/null"} if service_port == "none" else {3: "socket", 4: address}
    expected = {0: "/dev/null", 1: "pipe", 2: "pipe", **ports, 5: "socket", 6: address, 7: address}
    assert links == expected
    assert found["port"] == ([None, None] if service_port == "none" else [3, 4])


def test_imports_have_the_numbers_and_names_of_the_routes(tmp_path: Path) -> None:
    found = look(tmp_path, "socketpair")
    assert found["imports"] == {"second": 6, "one": 7}
    assert found["identities"]["second"] != found["identities"]["one"]


def test_the_environment_holds_what_the_topology_gives_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMCLAB_TEST_SECRET", "must not get in")
    found = look(tmp_path, "socketpair", env='{GIVEN: "yes"}', args="{size: 3, deep: {x: [1]}}")
    assert found["environ"] == {"GIVEN": "yes"}
    assert found["initial environ"] == ""
    assert found["args"] == {"size": 3, "deep": {"x": [1]}}
    assert found["session"]


def test_without_facets_the_port_s_own_address_is_the_one_that_others_were_granted(tmp_path: Path) -> None:
    own = """
        def main(worker):
            worker.report("own", worker.address.identity())
    """
    holds = """
        def main(worker):
            worker.report("held", worker.imports["server"].identity())
    """
    topology = """
        defaults: {protocol: socketpair}
        workers:
          server: {program: "own:main", service_port: exported}
          client: {program: "holds:main"}
        routes:
          - {grant: server, to: client, facets: %s}
    """
    for facets in ("true", "false"):
        outcome = run_topology(write(tmp_path, topology % facets, own=own, holds=holds))
        same = outcome.workers["client"].reports["held"] == outcome.workers["server"].reports["own"]
        assert same == (facets == "false")


def test_workers_may_be_granted_to_each_other(tmp_path: Path) -> None:
    program = """
        def main(worker):
            client = worker.imc.imc_connect(worker.imports["peer"])
            server = worker.imc.imc_accept(worker.bound_socket)
            worker.imc.imc_sendmsg(client, worker.name.encode())
            worker.report("heard", worker.imc.imc_recvmsg(server).data.decode())
    """
    topology = """
        defaults: {protocol: socketpair, program: "peer:main", service_port: exported}
        workers: {left: {}, right: {}}
        routes:
          - {grant: left, to: right, as: peer}
          - {grant: right, to: left, as: peer}
    """
    outcome = run_topology(write(tmp_path, topology, peer=program))
    assert {name: worker.reports["heard"] for name, worker in outcome.workers.items()} == {
        "left": "right",
        "right": "left",
    }


def test_250_imports_arrive_in_order(tmp_path: Path) -> None:
    program = """
        def main(worker):
            worker.report("numbers", [address.fileno() for address in worker.imports.values()])
            worker.report("facets", len({address.identity() for address in worker.imports.values()}))
    """
    routes = "\n".join(f"  - {{grant: server, to: guest, as: n{index}}}" for index in range(250))
    topology = (
        "defaults: {protocol: socketpair}\n"
        "workers:\n"
        '  guest: {program: "many:main"}\n'
        '  server: {program: "idle:main", service_port: exported}\n'
        f"routes:\n{routes}\n"
    )
    outcome = run_topology(write(tmp_path, topology, many=program, idle="def main(worker): pass\n"))
    assert outcome.workers["guest"].reports == {"numbers": list(range(6, 256)), "facets": 250}


def test_an_exported_address_arrives_before_the_announcement(tmp_path: Path) -> None:
    topology = """
        workers:
          guest: {program: "guest:main", protocol: stream, service_port: exported}
    """
    outcome = run_topology(write(tmp_path, topology, guest="def main(worker): pass\n"))
    kinds = [type(event) for event in outcome.events if isinstance(event, (AddressExported, WorkerReady))]
    assert kinds == [AddressExported, WorkerReady]


def test_the_run_has_a_pid_namespace_where_it_may(tmp_path: Path) -> None:
    program = """
        import os

        def main(worker):
            worker.report("parent", os.getppid())
    """
    outcome = run_topology(write(tmp_path, ONE_WORKER, guest=program))
    started = next(event for event in outcome.events if isinstance(event, RunStarted))
    assert started.pid_namespace
    assert outcome.workers["guest"].reports == {"parent": 1}


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("return None", 0),
        ("return 0", 0),
        ("return 3", 3),
        ("return 300", 44),
        ("return -1", 255),
        ("raise SystemExit(7)", 7),
        ("raise SystemExit('a message')", 1),
        ("raise ValueError('on purpose')", 1),
        ("import os; os._exit(9)", 9),
        ("import os; os.kill(os.getpid(), 15)", -15),
        ("import os; os.abort()", -6),
    ],
)
def test_the_exit_status_is_told_as_subprocess_tells_it(source: str, status: int, tmp_path: Path) -> None:
    outcome = run_topology(write(tmp_path, ONE_WORKER, guest=f"def main(worker):\n    {source}\n"))
    assert outcome.workers["guest"].exit_status == status
    assert outcome.status is (Status.FAILED if status else Status.PASSED)


def test_what_a_worker_writes_is_kept_per_stream(tmp_path: Path) -> None:
    program = """
        import atexit, os, sys, threading

        def main(worker):
            print("to stdout")
            worker.log("to stderr")
            os.write(1, b"raw\\n")
            atexit.register(print, "at exit")
            threading.Thread(target=print, args=("from a thread",)).start()
            raise ValueError("on purpose")
    """
    worker = run_topology(write(tmp_path, ONE_WORKER, guest=program)).workers["guest"]
    assert worker.stdout.kept.startswith(b"to stdout\nraw\n")
    assert {b"from a thread", b"at exit"} <= set(worker.stdout.kept.splitlines())
    assert worker.stderr.kept.startswith(b"to stderr\nTraceback")
    assert worker.stderr.kept.endswith(b"ValueError: on purpose\n")


def test_a_flood_of_output_is_counted_and_not_kept(tmp_path: Path) -> None:
    program = """
        import sys

        def main(worker):
            for _ in range(100):
                sys.stdout.write("x" * 65536)
    """
    output = run_topology(write(tmp_path, ONE_WORKER, guest=program)).workers["guest"].stdout
    assert (output.kept, output.size) == (b"x" * 65536, 6553600)


def test_a_sibling_leaves_no_trace_of_its_environment_in_a_worker_s_memory(tmp_path: Path) -> None:
    program = """
        import re

        def main(worker):
            needles = {name: "".join(parts).encode() for name, parts in worker.args.items()}
            found = dict.fromkeys(needles, 0)
            with open("/proc/self/mem", "rb") as memory:
                for line in open("/proc/self/maps"):
                    start, end, mode = re.match("([0-9a-f]+)-([0-9a-f]+) (..)", line).groups()
                    if mode == "rw":
                        memory.seek(int(start, 16))
                        content = memory.read(int(end, 16) - int(start, 16))
                        for name, needle in needles.items():
                            found[name] += content.count(needle)
            worker.report("found", found)
    """
    pieces = '{own: [swordfish, "-0815", z], sibling: [swordfish, "-4711", z]}'
    siblings = "\n".join(
        f'          s{index}: {{program: "idle:main", env: {{SECRET: "{"swordfish-4711z" * 2000}"}}}}'
        for index in range(8)
    )
    topology = f"""
        defaults: {{protocol: socketpair}}
        workers:
{siblings}
          snoop: {{program: "snoop:main", args: {pieces}, env: {{SECRET: "{"swordfish-0815z" * 200}"}}}}
    """
    outcome = run_topology(write(tmp_path, topology, snoop=program, idle="def main(worker): pass\n"))
    assert outcome.passed, (outcome.reason, outcome.workers["snoop"].stderr.text())
    reports: Any = outcome.workers["snoop"].reports
    assert reports["found"]["own"] >= 200
    # What it looks for stands in its own memory, once or twice; a secret would 2000 times.
    assert reports["found"]["sibling"] < 10


def test_the_current_folder_tells_nothing(tmp_path: Path) -> None:
    program = "import os\n\ndef main(worker): worker.report('folder', os.getcwd())\n"
    outcome = run_topology(write(tmp_path, ONE_WORKER, guest=program))
    assert outcome.workers["guest"].reports == {"folder": "/"}
    assert str(Path.cwd()) != "/"


def test_the_control_channel_is_open_for_as_long_as_the_program_has_anything_to_say(tmp_path: Path) -> None:
    program = """
        import os, sys

        class Last:
            def flush(self):
                os.fstat(5)
                os.write(1, b"open")

        sys.stdout = Last()

        def main(worker): pass
    """
    guest = run_topology(write(tmp_path, ONE_WORKER, guest=program)).workers["guest"]
    assert (guest.stdout.text(), guest.stderr.text()) == ("open", "")


DIFFERS = """
    import os, random, tempfile, threading

    def main(worker):
        said = []
        thread = threading.Thread(target=lambda: said.append(threading.get_ident()))
        thread.start()
        thread.join()
        lock = threading.Lock()
        worker.report("random", [random.random(), random.getrandbits(64), os.urandom(8).hex()])
        worker.report("main thread", threading.main_thread().native_id - threading.get_native_id())
        worker.report("is main", threading.current_thread() is threading.main_thread())
        worker.report("threads", [len(said), threading.active_count(), said != [threading.get_ident()]])
        import calendar
        worker.report("imported", calendar.MONDAY == 0)
"""


def test_workers_are_forks_that_differ_where_processes_do(tmp_path: Path) -> None:
    """They are forked without what Python does after a fork; of that, this is what a program may notice."""
    topology = 'workers: {w: {program: "differs:main", protocol: socketpair, replicas: 3}}'
    outcome = run_topology(write(tmp_path, topology, differs=DIFFERS))
    assert outcome.passed, outcome.reason
    reports = [worker.reports for worker in outcome.workers.values()]
    drawn = [number for found in reports for number in found["random"]]  # type: ignore[attr-defined]
    assert len(set(drawn)) == len(drawn) == 9
    assert [found["main thread"] for found in reports] == [0, 0, 0]
    assert all(found["is main"] and found["imported"] for found in reports)
    assert [found["threads"] for found in reports] == [[1, 1, True]] * 3


def test_a_worker_leaves_no_bytecode_beside_its_program(tmp_path: Path) -> None:
    outcome = run_topology(write(tmp_path, ONE_WORKER, guest="def main(worker): import helper\n", helper=""))
    assert outcome.passed, outcome.reason
    assert not list(tmp_path.rglob("__pycache__"))


def test_garbage_is_collected(tmp_path: Path) -> None:
    """The launcher collects none while it starts."""
    garbage = """
        import gc, weakref

        class Circle:
            pass

        def main(worker):
            circle = Circle()
            circle.itself = circle
            left = weakref.ref(circle)
            del circle
            for _ in range(gc.get_threshold()[0] + 1):
                if left() is None:
                    return
                kept = [[] for _ in range(gc.get_threshold()[0])]
            raise AssertionError("nothing is collected")
    """
    assert run_topology(write(tmp_path, ONE_WORKER, guest=garbage)).passed
