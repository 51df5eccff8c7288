"""Who can reach whom, in whole topologies: facets and their absence, early and late grants, ends and deaths."""

import errno
import os
import resource
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from harness import Outcome, Status, run_topology
from harness.events import AddressExported, AddressGranted, AddressLost, FacetMade
from harness.planner import only_plan_of
from harness.supervisor import run_plan
from sandbox.protocols import PROTOCOLS
from tests.harness.written import write

DESCRIPTOR_PROTOCOLS: Final = ("socketpair", "acknowledged")
FORWARDED: Final = ("datagram", "socketpair", "acknowledged")
Run = Callable[..., Outcome]

BREAKS: Final = """
    import os, socket

    def main(worker):
        address = worker.imports["server"]
        try:
            with socket.socket(fileno=os.dup(address.fileno())) as sock:
                sock.shutdown(socket.SHUT_RDWR)
            worker.report("shut down", True)
        except OSError as error:
            worker.report("shut down", error.strerror)
        # Whoever waits for this knows that it is done.
        worker.export("done", worker.address)
"""
USES: Final = """
    from sandbox.errors import ImcError

    def main(worker):
        worker.imports["done"]
        try:
            worker.imc.imc_connect(worker.imports["server"])
            worker.report("connected", True)
        except ImcError as error:
            worker.report("connected", error.errno)
"""
ACCEPTS: Final = """
    from sandbox.errors import ImcError

    def main(worker):
        try:
            worker.imc.imc_accept(worker.bound_socket)
            worker.report("accepted", True)
        except ImcError as error:
            worker.report("accepted", error.errno)
"""


def with_a_breaker(tmp_path: Path, protocol: str, facets: str) -> Outcome:
    """Run a server, somebody who shuts its address down, and somebody who connects afterwards."""
    topology = f"""
        defaults: {{protocol: {protocol}, service_port: exported{facets}}}
        workers:
          server: {{program: "accepts:main"}}
          breaker: {{program: "breaks:main"}}
          user: {{program: "uses:main"}}
        routes:
          - {{grant: server, to: breaker}}
          - {{grant: server, to: user}}
          - {{grant: breaker.done, to: user, as: done}}
    """
    return run_topology(write(tmp_path, topology, accepts=ACCEPTS, breaks=BREAKS, uses=USES))


@pytest.mark.parametrize("protocol", DESCRIPTOR_PROTOCOLS)
def test_with_facets_who_shuts_its_address_down_hurts_itself_alone(protocol: str, tmp_path: Path) -> None:
    outcome = with_a_breaker(tmp_path, protocol, "")
    assert outcome.workers["breaker"].reports == {"shut down": True}
    assert outcome.workers["user"].reports == {"connected": True}
    assert outcome.workers["server"].reports == {"accepted": True}


@pytest.mark.parametrize("protocol", DESCRIPTOR_PROTOCOLS)
def test_without_facets_it_hurts_everyone(protocol: str, tmp_path: Path) -> None:
    outcome = with_a_breaker(tmp_path, protocol, ", facets: false")
    assert outcome.workers["breaker"].reports == {"shut down": True}
    assert outcome.workers["user"].reports == {"connected": 5}
    assert outcome.workers["server"].reports == {"accepted": 5}


@pytest.mark.parametrize("facets", ["", ", facets: false"])
@pytest.mark.parametrize("protocol", ["stream", "datagram"])
def test_a_name_cannot_be_shut_down_by_who_holds_it(protocol: str, facets: str, tmp_path: Path) -> None:
    outcome = with_a_breaker(tmp_path, protocol, facets)
    assert outcome.workers["breaker"].reports == {"shut down": "Socket operation on non-socket"}
    assert outcome.workers["user"].reports == {"connected": True}


def test_a_listener_has_one_name_and_what_another_accepted_is_connected_for_good() -> None:
    """Why the stream protocol has no facets: a facet would be another listener, and what it accepts stays with it."""
    with ExitStack() as stack:
        listener, facet, client = (
            stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) for _ in range(3)
        )
        for sock in (listener, facet):
            sock.bind("")
            sock.listen(5)
        with pytest.raises(OSError, match="Invalid argument"):
            listener.bind(f"\0imclab-test-{os.getpid()}")
        client.connect(facet.getsockname())
        accepted, _ = facet.accept()
        stack.enter_context(accepted)
        with pytest.raises(OSError, match="already connected"):
            accepted.connect(listener.getsockname())
        listener.setblocking(False)  # noqa: FBT003
        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize(
    ("defaults", "worker", "route", "made"),
    [
        ("", "", "", True),
        ("facets: false", "", "", False),
        ("facets: false", "facets: true", "", True),
        ("", "facets: false", "", False),
        ("", "facets: false", "facets: true", True),
        ("facets: true", "facets: true", "facets: false", False),
    ],
)
def test_the_nearest_word_on_facets_counts(defaults: str, worker: str, route: str, made: bool, tmp_path: Path) -> None:
    topology = f"""
        defaults: {{protocol: socketpair, program: "idle:main"{defaults and ", " + defaults}}}
        workers:
          server: {{service_port: exported{worker and ", " + worker}}}
          user: {{}}
        routes: [{{grant: server, to: user{route and ", " + route}}}]
    """
    outcome = run_topology(write(tmp_path, topology, idle="def main(worker): pass\n"))
    assert any(isinstance(event, FacetMade) for event in outcome.events) == made


# Grants that come later


LATE: Final = """
  - {at: bob, do: makeboundsock, as: [port, extra]}
  - {at: bob, do: export, address: extra, name: extra}
  - {at: bob, do: close, descriptor: extra}
"""


def probes(protocol: str, routes: str, steps: str, more: str = "") -> str:
    """Return a topology of three probes with service ports."""
    return f"""
defaults: {{protocol: {protocol}, program: "sandbox.programs.probe:main", service_port: exported{more}}}
workers: {{alice: {{}}, bob: {{}}, carol: {{}}}}
routes: [{routes}]
scenario:
{steps}
"""


@pytest.mark.parametrize("facets", ["", ", facets: false"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_address_that_is_exported_later_reaches_all_who_are_granted_it(
    protocol: str, facets: str, tmp_path: Path
) -> None:
    routes = f"{{grant: bob.extra, to: alice{facets}}}, {{grant: bob.extra, to: carol, as: it{facets}}}"
    steps = f"""
  - {{at: alice, do: connect, address: bob.extra, as: c}}
{LATE}
  - {{at: bob, do: accept, bound: port}}
  - {{kill: alice}}
  - {{at: carol, do: connect, address: it, as: c}}
  - {{at: bob, do: accept, bound: port}}
  - {{expect: {{exit: {{alice: SIGKILL}}}}}}
"""
    outcome = run_topology(write(tmp_path, probes(protocol, routes, steps)))
    assert outcome.reason == "all as expected"
    assert [event.name for event in outcome.events if isinstance(event, AddressExported) and event.name] == ["extra"]
    made = sum(isinstance(event, FacetMade) for event in outcome.events)
    assert made == (2 if not facets and protocol != "stream" else 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_python_worker_s_grants_may_all_come_as_messages(protocol: str, tmp_path: Path) -> None:
    routes = "{grant: bob, to: alice, as: friend}, {grant: carol, to: alice}"
    steps = """
  - {at: alice, do: connect, address: carol, as: c}
  - {at: carol, do: accept}
  - {at: alice, do: connect, address: friend, as: b}
  - {at: bob, do: accept}
"""
    outcome = run_topology(write(tmp_path, probes(protocol, routes, steps, ", grants: messages")))
    assert outcome.reason == "all as expected"


def test_names_of_imports_are_known_before_they_arrive(tmp_path: Path) -> None:
    program = """
        def main(worker):
            assert list(worker.imports) == ["early", "bob.extra"]
            assert "bob.extra" in worker.imports and "other" not in worker.imports
            assert len(worker.imports) == 2
            try:
                worker.imports["other"]
            except KeyError:
                worker.report("unknown", True)
            worker.imc.imc_connect(worker.imports["bob.extra"]).close()
    """
    exports = """
        def main(worker):
            bound, address = worker.imc.imc_makeboundsock()
            worker.export("extra", address)
            address.close()
            worker.imc.imc_accept(bound)
    """
    topology = """
        defaults: {protocol: socketpair, service_port: exported}
        workers:
          alice: {program: "alice:main"}
          bob: {program: "bob:main"}
        routes: [{grant: bob.extra, to: alice}, {grant: bob, to: alice, as: early}]
    """
    outcome = run_topology(write(tmp_path, topology, alice=program, bob=exports))
    assert outcome.reason == "all as expected"
    assert outcome.workers["alice"].reports == {"unknown": True}


def test_threads_may_wait_for_grants_while_others_wait_for_steps(tmp_path: Path) -> None:
    program = """
        import threading

        def main(worker):
            names = ["bob.one", "bob.two"]
            threads = [threading.Thread(target=worker.imports.__getitem__, args=(name,)) for name in names]
            for thread in threads:
                thread.start()
            worker.imports["bob.one"]
            for thread in threads:
                thread.join()
    """
    exports = """
        def main(worker):
            for name in ("two", "one"):
                bound, address = worker.imc.imc_makeboundsock()
                worker.export(name, address)
    """
    topology = """
        defaults: {protocol: socketpair}
        workers: {alice: {program: "alice:main"}, bob: {program: "bob:main"}}
        routes: [{grant: bob.one, to: alice}, {grant: bob.two, to: alice}]
    """
    assert run_topology(write(tmp_path, topology, alice=program, bob=exports)).reason == "all as expected"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_was_granted_can_be_exported_and_leads_on(protocol: str, tmp_path: Path) -> None:
    routes = "{grant: bob, to: alice}, {grant: alice.again, to: carol}"
    steps = """
  - {at: alice, do: export, address: bob, name: again}
  - {at: carol, do: connect, address: alice.again, as: c}
  - {at: bob, do: accept, as: c}
  - {at: carol, do: sendmsg, socket: c, data: hello}
  - {at: bob, do: recvmsg, socket: c, expect: {data: hello}}
  - {kill: bob}
  - {at: carol, do: connect, address: alice.again, expect: {error: EIO}}
  - {expect: {exit: {bob: SIGKILL}}}
"""
    assert run_topology(write(tmp_path, probes(protocol, routes, steps))).reason == "all as expected"


def lost(outcome: Outcome) -> list[tuple[str, str, str]]:
    """Return whose address leads nowhere, its name there, and why; nobody may be blamed for it."""
    assert outcome.reason == "all as expected"
    return [(event.worker, event.name, event.text) for event in outcome.events if isinstance(event, AddressLost)]


ROUND: Final = """
    from sandbox.errors import ImcError

    def first(worker):
        worker.export("", worker.imports["second.way"])
        worker.export("done", worker.address)

    def second(worker):
        worker.export("way", worker.imports["first"])
        worker.imports["first.done"]
        try:
            worker.imc.imc_connect(worker.imports["first"])
        except ImcError as error:
            worker.report("refused", error.errno)
"""


@pytest.mark.parametrize("protocol", FORWARDED)
def test_an_address_that_would_lead_to_itself_is_a_dead_one(protocol: str, tmp_path: Path) -> None:
    topology = f"""
        defaults: {{protocol: {protocol}, service_port: exported}}
        workers: {{first: {{program: "round:first", grants: messages}}, second: {{program: "round:second"}}}}
        routes: [{{grant: first, to: second}}, {{grant: second.way, to: first}}, {{grant: first.done, to: second}}]
        within: 20s
    """
    outcome = run_topology(write(tmp_path, topology, round=ROUND))
    assert lost(outcome) == [("first", "", "it leads to itself")]
    assert outcome.workers["second"].reports == {"refused": errno.EIO}


HONEST: Final = """
    import os, select
    from contextlib import suppress
    from sandbox.descriptors import SocketAddress
    from sandbox.errors import ImcError

    def registry(worker):
        # Exports what a client registers, and stays.
        client = worker.imc.imc_accept(worker.bound_socket)
        (address,) = worker.imc.imc_recvmsg(client).descriptors
        worker.export("service", address)
        worker.next_step()

    def user(worker):
        try:
            worker.imc.imc_connect(worker.imports["registry.service"])
        except ImcError as error:
            worker.report("refused", error.errno)

    def register(worker, address):
        worker.imc.imc_sendmsg(worker.imc.imc_connect(worker.imports["registry"]), b"register me", [address])
        worker.next_step()

    def of_the_supervisor(worker):
        register(worker, SocketAddress(os.dup(5)))

    def unwatchable(worker):
        bound, address = worker.imc.imc_makeboundsock()
        # An epoll is told of it, and as many as the kernel allows are told of that one.
        first = select.epoll()
        first.register(address.fileno(), select.EPOLLIN)
        others = []
        with suppress(OSError):
            while True:
                others.append(select.epoll())
                others[-1].register(first.fileno(), select.EPOLLIN)
        register(worker, address)
"""


@pytest.mark.parametrize("protocol", DESCRIPTOR_PROTOCOLS)
@pytest.mark.parametrize(
    ("registers", "why"),
    [
        ("of_the_supervisor", "it is a socket of the supervisor's"),
        ("unwatchable", "it cannot be watched: Invalid argument"),
    ],
)
def test_who_exports_what_cannot_be_granted_may_be_honest_and_goes_on(
    registers: str, why: str, protocol: str, tmp_path: Path
) -> None:
    topology = f"""
        defaults: {{protocol: {protocol}, confinement: strict}}
        workers:
          registry: {{program: "honest:registry", service_port: exported}}
          user: {{program: "honest:user"}}
          hostile: {{program: "honest:{registers}"}}
        routes: [{{grant: registry, to: hostile}}, {{grant: registry.service, to: user}}]
        scenario: [{{wait: {{exit: user}}, within: 20s}}]
    """
    outcome = run_topology(write(tmp_path, topology, honest=HONEST))
    assert lost(outcome) == [("registry", "service", why)]
    assert outcome.workers["user"].reports == {"refused": errno.EIO}


@pytest.mark.parametrize("end", ["return 0", "os.write(5, b'junk'); time.sleep(3600)"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_waits_for_what_cannot_come_any_more_gets_an_address_at_which_nobody_is(
    protocol: str, end: str, tmp_path: Path
) -> None:
    exports = f"import os, time\n\ndef main(worker):\n    worker.imports['go']\n    {end}\n"
    waits = """
        from sandbox.errors import ImcError

        def main(worker):
            worker.export("go", worker.address)
            try:
                worker.imc.imc_connect(worker.imports["late"])
            except ImcError as error:
                worker.report("refused", error.errno)
    """
    topology = f"""
        defaults: {{protocol: {protocol}, service_port: exported}}
        workers: {{a: {{program: "exports:main"}}, b: {{program: "waits:main"}}}}
        routes: [{{grant: a.extra, to: b, as: late}}, {{grant: b.go, to: a, as: go}}]
        within: 20s
    """
    outcome = run_topology(write(tmp_path, topology, exports=exports, waits=waits))
    assert outcome.workers["b"].reports == {"refused": errno.EIO}
    assert outcome.workers["b"].exit_status == 0
    assert outcome.workers["a"].offence is None or outcome.reason.startswith("a broke the rules")


def test_what_was_granted_is_not_granted_again_when_the_exporter_ends(tmp_path: Path) -> None:
    steps = """
  - {at: bob, do: export, address: address, name: extra}
  - {at: alice, do: connect, address: bob.extra, as: c}
  - {kill: bob}
  - {expect: {exit: {bob: SIGKILL}}}
"""
    routes = "{grant: bob.extra, to: alice}, {grant: bob, to: carol, as: main}"
    text = probes("socketpair", routes, steps).replace("carol: {}", "carol: {grants: messages}")
    outcome = run_topology(write(tmp_path, text))
    assert outcome.reason == "all as expected"
    granted = [(event.worker, event.name) for event in outcome.events if isinstance(event, AddressGranted)]
    assert sorted(granted) == [("alice", "bob.extra"), ("carol", "main")]


@pytest.mark.parametrize("layout", ["2013", "recent"])
@pytest.mark.parametrize("protocol", DESCRIPTOR_PROTOCOLS)
def test_workers_may_write_either_layout_of_their_protocol(protocol: str, layout: str, tmp_path: Path) -> None:
    topology = f"""
        defaults:
          protocol: {protocol}
          layout: {layout}
          env: {{IMCLAB_PROTOCOL: {protocol}, IMCLAB_LAYOUT: "{layout}"}}
        workers:
          module:
            command: [imclab, sel-ldr, -i, "5:5", -X, "5", --, "sandbox.programs.echo:main", "1"]
            grants: messages
          probe: {{program: "sandbox.programs.probe:main", grants: messages}}
        routes: [{{grant: module, to: probe}}]
        scenario:
          - {{at: probe, do: connect, address: module, as: c}}
          - {{at: probe, do: sendmsg, socket: c, data: hello}}
          - {{at: probe, do: recvmsg, socket: c, expect: {{data: HELLO}}}}
    """
    assert run_topology(write(tmp_path, topology)).reason == "all as expected"


# Replicas


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_replicas_are_paired_with_their_equals(protocol: str, tmp_path: Path) -> None:
    topology = f"""
        defaults: {{protocol: {protocol}, program: "sandbox.programs.probe:main", service_port: exported}}
        workers: {{fe: {{replicas: 3}}, db: {{replicas: 3, args: {{me: "{{{{replica}}}}"}}}}}}
        routes: [{{grant: db.*, to: fe.*, pair: true, as: db}}]
        scenario:
          - {{at: fe.*, do: connect, address: db, as: c}}
          - {{at: db.*, do: accept, as: c}}
          - {{at: fe.*, do: sendmsg, socket: c, data: "from {{{{replica}}}}"}}
          - {{at: db.*, do: recvmsg, socket: c, expect: {{data: "from {{{{replica}}}}"}}}}
    """
    assert run_topology(write(tmp_path, topology)).reason == "all as expected"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_may_be_granted_all_replicas_and_all_replicas_one(protocol: str, tmp_path: Path) -> None:
    topology = f"""
        defaults: {{protocol: {protocol}, program: "sandbox.programs.probe:main", service_port: exported}}
        workers: {{hub: {{}}, leaf: {{replicas: 2}}}}
        routes: [{{grant: hub, to: leaf.*}}, {{grant: leaf.*, to: hub}}, {{grant: leaf.1, to: hub, as: second}}]
        scenario:
          - {{at: hub, do: connect, address: leaf.0, as: a}}
          - {{at: hub, do: connect, address: second, as: b}}
          - {{at: leaf.*, do: accept, as: h}}
          - {{at: leaf.*, do: connect, address: hub, as: up}}
          - {{at: hub, do: accept}}
          - {{at: hub, do: accept}}
    """
    assert run_topology(write(tmp_path, topology)).reason == "all as expected"


def test_each_replica_has_its_own_number_in_what_it_is_told(tmp_path: Path) -> None:
    program = """
        import os

        def main(worker):
            worker.report("told", [worker.name, worker.args, os.environ["ME"]])
    """
    topology = """
        defaults: {protocol: socketpair, args: {all: "{{replica}}"}}
        kinds: {k: {env: {ME: "number {{replica}} of 2"}}}
        workers: {r: {kind: k, program: "r:main", replicas: 2, args: {own: ["{{replica}}", "r{{ replica }}"]}}}
    """
    outcome = run_topology(write(tmp_path, topology, r=program))
    assert {name: worker.reports["told"] for name, worker in outcome.workers.items()} == {
        f"r.{n}": [f"r.{n}", {"all": n, "own": [n, f"r{n}"]}, f"number {n} of 2"] for n in range(2)
    }


# Deaths


@pytest.mark.parametrize("facets", ["", ", facets: false"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_after_a_kill_the_way_to_the_killed_is_closed(protocol: str, facets: str, tmp_path: Path) -> None:
    steps = """
  - {kill: bob}
  - {at: alice, do: connect, address: bob, expect: {error: EIO}}
  - {at: carol, do: connect, address: bob, expect: {error: EIO}}
  - {expect: {exit: {bob: SIGKILL}}}
"""
    routes = "{grant: bob, to: alice}, {grant: bob, to: carol}"
    for _ in range(5):
        outcome = run_topology(write(tmp_path, probes(protocol, routes, steps, facets)))
        assert outcome.reason == "all as expected"


@pytest.mark.parametrize("protocol", DESCRIPTOR_PROTOCOLS)
def test_when_the_last_who_was_granted_it_is_killed_accept_ends(protocol: str, tmp_path: Path) -> None:
    steps = """
  - {at: bob, do: close, descriptor: address}
  - {at: bob, do: accept, expect: {error: EIO}}
"""
    routes = "{grant: bob, to: alice}, {grant: bob, to: carol}"
    ends = "  - {expect: {exit: {alice: SIGKILL, carol: SIGKILL}}}\n"
    killed = f"  - {{kill: alice}}\n  - {{kill: carol}}\n{steps}{ends}"
    outcome = run_topology(write(tmp_path, probes(protocol, routes, killed)))
    assert outcome.reason == "all as expected"


# Limits


@pytest.mark.parametrize("protocol", ["socketpair", "datagram"])
def test_a_run_needs_no_more_descriptors_than_it_asks_for(protocol: str, tmp_path: Path) -> None:
    topology = f"""
        defaults: {{protocol: {protocol}, program: "idle:main", service_port: exported}}
        workers: {{hub: {{}}, leaf: {{replicas: 12}}}}
        routes: [{{grant: hub, to: leaf.*}}, {{grant: leaf.*, to: hub}}, {{grant: leaf.*, to: leaf.*}}]
        channels: [{{between: [leaf.*.300, leaf.*.301]}}]
    """
    file = write(tmp_path, topology, idle="def main(worker): pass\n")

    def run(limit: int) -> Outcome:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
        try:
            return run_topology(file)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

    refused = run(100)
    assert refused.status is Status.UNSUPPORTED
    needed = int(refused.reason.rpartition(" ")[2])
    assert run(needed).reason == "all as expected"
    assert run(needed - 1).status is Status.UNSUPPORTED


def test_a_file_that_became_a_fifo_is_told_and_nobody_waits_for_it(tmp_path: Path) -> None:
    topology = """
        workers:
          it: {program: "idle:main", protocol: socketpair, inherit: [{descriptor: 9, file: words.txt, mode: r}]}
    """
    (tmp_path / "words.txt").touch()
    plan = only_plan_of(write(tmp_path, topology, idle="def main(worker): pass\n"), {})
    (tmp_path / "words.txt").unlink()
    os.mkfifo(tmp_path / "words.txt")
    outcome = run_plan(plan)
    assert outcome.status is Status.REFUSED
    assert outcome.reason == f"{tmp_path / 'words.txt'}: neither a regular file nor a character device"
    (tmp_path / "words.txt").unlink()
    outcome = run_plan(plan)
    assert (outcome.status, outcome.reason.rpartition(": ")[2]) == (Status.REFUSED, "No such file or directory")
    assert outcome.seconds < 10
