"""A worker that breaks the rules of its control channel is named in the outcome and ended; the supervisor goes on."""

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import Final

import pytest

from harness import Outcome, Status, control_channel, run_topology
from harness.control_channel import ControlChannel
from harness.events import Offence
from harness.quotas import REPORT_BYTES_MAX, REPORTS_MAX
from harness.undertaker import Undertaker
from sandbox.descriptors import ConnectedSocket, SocketAddress
from sandbox.errors import ImcError
from sandbox.imc import Imc
from sandbox.protocols import PROTOCOLS
from sandbox.transport import seqpacket_pair
from tests.harness.written import write

GUEST = """
    import os, socket, time
    from sandbox import control
    from sandbox.descriptors import SocketAddress

    def main(worker):
        channel = worker.control_channel
        raw = socket.socket(fileno=os.dup(5))
        send = lambda kind, body: worker.imc.imc_sendmsg(channel, control.encode(kind, body))
        {offence}
        time.sleep(3600)
"""


def offend(tmp_path: Path, offence: str, protocol: str = "socketpair", service_port: str = "unexported") -> Outcome:
    """Run a worker that does this and then waits for ever."""
    topology = f"""
        workers:
          guest: {{program: "guest:main", protocol: {protocol}, service_port: {service_port}}}
        within: 10s
    """
    return run_topology(write(tmp_path, topology, guest=GUEST.format(offence=offence)))


OFFENCES = {
    "raw.send(b'x')": "a message of 1 bytes is shorter than its header",
    "raw.send(b'x' * 16)": "magic number 0x78787878, not 0xd3c0de01",
    "raw.send(b'')": "a message of 0 bytes is shorter than its header",
    "worker.imc.imc_sendmsg(channel, b'hello')": "a message that is no JSON",
    "worker.imc.imc_sendmsg(channel, b'')": "a message that is no JSON",
    "worker.imc.imc_sendmsg(channel, b'[1]')": "a message that is no JSON object with one member",
    "worker.imc.imc_sendmsg(channel, b'{}')": "a message that is no JSON object with one member",
    "worker.imc.imc_sendmsg(channel, b'[' * 100000)": "a message that is no JSON",
    "worker.imc.imc_sendmsg(channel, b'9' * 100000)": "a message that is no JSON",
    "worker.imc.imc_sendmsg(channel, b'\\xff')": "a message that is no JSON",
    "send('step', {})": "no message of a worker: 'step'",
    "send('announce', 'ready')": "a second announcement",
    "send('announce', 'steady')": "no message of a worker: 'announce'",
    "send('result', {})": "a result that nobody asked for",
    "send('result', 3)": "no message of a worker: 'result'",
    "send('refused', {'call': 'x', 'error': 'EWAT'})": "no message of a worker: 'refused'",
    "send('refused', {'call': 'x'})": "no message of a worker: 'refused'",
    "send('report', {'key': 1, 'value': 2})": "no message of a worker: 'report'",
    "send('report', {'key': 'k', 'value': 2, 'more': 3})": "no message of a worker: 'report'",
    "worker.imc.imc_sendmsg(channel, b'', worker.imc.imc_socketpair())": "descriptors that nobody asked for",
    "worker.imc.imc_sendmsg(channel, b'{}', (worker.address,))": "descriptors that nobody asked for",
    "worker.imc.imc_sendmsg(channel, b'', (worker.address, worker.address))": "descriptors that nobody asked for",
    "worker.imc.imc_sendmsg(channel, b'', (worker.address,))": "an export of its address, which no route grants",
    "worker.imc.imc_sendmsg(channel, b'extra', (worker.address,))": "an export of 'extra', which no route grants",
    "worker.imc.imc_sendmsg(channel, b'\\xff', (worker.address,))": "an export of '\\\\xff', which no route grants",
}


@pytest.mark.parametrize("offence", OFFENCES)
def test_each_breach_is_named_and_ends_the_worker(offence: str, tmp_path: Path) -> None:
    outcome = offend(tmp_path, offence)
    told = outcome.workers["guest"].offence
    assert told is not None
    assert told.startswith(OFFENCES[offence])
    assert outcome.status is Status.FAILED
    assert outcome.reason == f"guest broke the rules of its control channel: {told}"
    assert outcome.workers["guest"].exit_status == -9
    assert [event.text for event in outcome.events if isinstance(event, Offence)] == [told]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("again", ["worker.address", "worker.imc.imc_makeboundsock()[1]"], ids=["twice", "another"])
def test_an_export_is_the_service_port_s_own_address_and_once(protocol: str, again: str, tmp_path: Path) -> None:
    outcome = offend(tmp_path, f"worker.imc.imc_sendmsg(channel, b'', ({again},))", protocol, "exported")
    assert outcome.workers["guest"].offence == "an export of its address, which no route grants"


def test_after_an_offence_nothing_more_is_read(tmp_path: Path) -> None:
    outcome = offend(tmp_path, "raw.send(b'x'); worker.report('late', 1); raw.send(b'yy')")
    assert outcome.workers["guest"].offence == "a message of 1 bytes is shorter than its header"
    assert outcome.workers["guest"].reports == {}


def test_a_flood_of_reports_is_bounded_in_number(tmp_path: Path) -> None:
    outcome = offend(tmp_path, "for n in range(1_000_000): worker.report('n', n)")
    assert outcome.workers["guest"].offence == f"more than {REPORTS_MAX} reports or {REPORT_BYTES_MAX} bytes of them"
    assert outcome.workers["guest"].reports == {"n": REPORTS_MAX - 1}


def test_a_flood_of_reports_is_bounded_in_bytes(tmp_path: Path) -> None:
    outcome = offend(tmp_path, "for n in range(1_000_000): worker.report(str(n), 'x' * 100_000)")
    reports = outcome.workers["guest"].reports
    assert sum(len(str(value)) for value in reports.values()) <= REPORT_BYTES_MAX
    assert outcome.workers["guest"].offence == f"more than {REPORTS_MAX} reports or {REPORT_BYTES_MAX} bytes of them"


def test_a_worker_that_closes_its_channel_and_exits_with_0_is_no_offender(tmp_path: Path) -> None:
    assert offend(tmp_path, "channel.close(); raw.close(); return 0").passed


def test_a_step_at_a_worker_that_closed_its_channel_fails_the_run(tmp_path: Path) -> None:
    topology = """
        workers:
          guest: {program: "guest:main", protocol: socketpair}
        scenario:
          - {at: guest, do: mem_obj_create}
    """
    source = GUEST.format(offence="channel.close(); raw.close()")
    outcome = run_topology(write(tmp_path, topology, guest=source))
    assert outcome.status is Status.FAILED
    offence = "it closed its control channel and went on"
    assert outcome.reason == f"guest broke the rules of its control channel: {offence}"


def test_a_worker_that_never_reads_its_channel_cannot_hold_the_supervisor(tmp_path: Path) -> None:
    topology = """
        workers:
          guest: {program: "guest:main", protocol: socketpair, stop: {within: 100ms}}
        scenario:
          - {at: guest, do: mem_obj_create, within: 200ms}
    """
    outcome = run_topology(write(tmp_path, topology, guest=GUEST.format(offence="pass")))
    assert outcome.status is Status.TIMED_OUT
    assert outcome.place is not None
    assert outcome.reason == "guest: mem_obj_create took longer than 0.2 s"


@pytest.mark.parametrize(
    "result",
    ["3", "{'error': 5}", "{'error': None}", "{'error': None, 'data': {'size': 0, 'sha256': 1, 'head': ''}}"],
)
def test_an_answer_that_makes_no_sense_fails_the_run(result: str, tmp_path: Path) -> None:
    topology = """
        workers:
          guest: {program: "guest:main", protocol: socketpair, service_port: exported}
        scenario:
          - {at: guest, do: connect, address: address, as: c}
          - {at: guest, do: recvmsg, socket: c, expect: {data: x}}
    """
    source = f"""
    def main(worker):
        worker.next_step()
        worker.answer({{"error": None}})
        worker.next_step()
        worker.answer({result})
        worker.next_step()
    """
    outcome = run_topology(write(tmp_path, topology, guest=source))
    assert outcome.status is Status.FAILED
    assert outcome.reason.startswith("guest ")


def test_who_cannot_be_told_for_the_descriptors_of_others_in_flight_is_no_offender(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[str] = []

    class Ears:
        def __getattr__(self, name: str) -> object:
            return lambda *_: heard.append(name)

    def refuse(*_: object, **__: object) -> int:
        raise ImcError(errno.EIO, "too many") from OSError(errno.ETOOMANYREFS, "too many")

    async def tell() -> None:
        left, right = map(ConnectedSocket, seqpacket_pair())
        undertaker = Undertaker()
        channel = ControlChannel("socketpair", "2013", left, Ears(), undertaker)  # type: ignore[arg-type]
        monkeypatch.setattr(Imc, "imc_sendmsg", refuse)
        channel.tell(b"x", SocketAddress(os.dup(right.fileno())))
        await asyncio.sleep(3 * PATIENCE)
        assert heard == []
        monkeypatch.undo()
        await asyncio.sleep(2 * control_channel.IN_FLIGHT_SECONDS)
        assert [type(held) for held in Imc("socketpair").imc_recvmsg(right).descriptors] == [SocketAddress]
        channel.close()
        undertaker.close()
        right.close()

    monkeypatch.setattr(control_channel, "UNREAD_SECONDS", PATIENCE)
    asyncio.run(tell())


PATIENCE: Final = 0.05
LINGER = """
    import socket, struct, time

    def lingering(port):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 100))
        sock.setblocking(False)
        try:
            while True:
                sock.send(bytes(65536))
        except BlockingIOError:
            return sock

    def main(worker):
        socks = [lingering(worker.args["port"]) for _ in range(worker.args["count"])]
        raw = socket.socket(fileno=5)
        # The reports keep the supervisor busy until the queue's is the last reference.
        for n in range(20):
            worker.report(str(n), [0] * 9000)
        for sock in socks:
            socket.send_fds(raw, [b"x"], [sock.fileno()])
            sock.close()
        time.sleep(3600)
"""


@pytest.mark.parametrize("count", [1, 3])
def test_a_descriptor_that_lingers_when_it_is_closed_cannot_hold_the_supervisor(count: int, tmp_path: Path) -> None:
    # The other end outlives the worker: its death would end the connection, and the lingering.
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        topology = f"""
            workers:
              guest: {{program: "guest:main", protocol: socketpair, args: {{port: {port}, count: {count}}}}}
            within: 10s
        """
        outcome = run_topology(write(tmp_path, topology, guest=LINGER))
    assert outcome.workers["guest"].offence is not None
    assert outcome.seconds < 10
