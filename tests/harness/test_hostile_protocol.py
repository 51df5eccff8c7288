"""One worker breaks the rules of the protocols; a server and another client of it go on, and who has to be is named."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from harness import Outcome, Status, run_topology
from harness.events import ConnectRefused, FacetShut
from harness.facets import Forwarder
from harness.quotas import REFUSED_CONNECTS_MAX
from harness.undertaker import Undertaker
from sandbox.programs.hostile.conspiracy import LINGERS
from sandbox.programs.hostile.innocent import ROUNDS
from sandbox.programs.hostile.wrong_descriptor import KINDS
from sandbox.transport import discard
from tests.harness.topologies import PROTOCOLS
from tests.harness.written import write
from tests.kernel import OpenDescriptors

SECONDS: Final = 10
MESSAGE: Final = ("datagram", "socketpair", "acknowledged")
DESCRIPTOR: Final = ("socketpair", "acknowledged")
CONNECT: Final = {"datagram": b"", "socketpair": b"c", "acknowledged": b"c"}


def topology(misbehaviour: str, protocol: str, *, facets: bool = True, more: str = "") -> str:
    """Return a victim, an innocent client of it, and one that does this to it."""
    return f"""
defaults: {{protocol: {protocol}{"" if facets else ", facets: false"}}}
workers:
  victim: {{program: "sandbox.programs.hostile.victim:main", service_port: exported}}
  innocent: {{program: "sandbox.programs.hostile.innocent:main", service_port: unexported}}
  hostile: {{program: "sandbox.programs.hostile.{misbehaviour}:main", service_port: unexported{more}}}
routes:
  - {{grant: victim, to: innocent}}
  - {{grant: victim, to: hostile}}
  - {{grant: innocent.start, to: hostile, as: start}}
  - {{grant: hostile.worst, to: innocent, as: worst}}
scenario:
  - {{wait: {{exit: innocent}}, within: 20s}}
"""


class Attack:
    """What became of one: who was refused what, and what the supervisor still has open."""

    def __init__(self, folder: Path, misbehaviour: str, protocol: str, *, facets: bool = True, more: str = "") -> None:
        before = OpenDescriptors()
        text = topology(misbehaviour, protocol, facets=facets, more=more)
        self.outcome: Outcome = run_topology(write(folder, text))
        self.leaked = not before.only()
        events = self.outcome.events
        self.refusals = [(event.worker, event.text) for event in events if isinstance(event, ConnectRefused)]

    def harms_nobody(self, *, offence: str | None = None) -> None:
        """Everything was echoed, in time, and nobody was named but the offender."""
        outcome = self.outcome
        innocent = outcome.workers["innocent"]
        assert innocent.exit_status == 0, innocent.stderr.text()
        rounds: Any = innocent.reports["rounds"]
        assert (rounds[0], rounds[2]) == (ROUNDS, ROUNDS)
        assert outcome.workers["victim"].exit_status == 0
        assert (innocent.offence, outcome.workers["victim"].offence) == (None, None)
        assert outcome.workers["hostile"].offence == offence
        assert outcome.status is (Status.FAILED if offence else Status.PASSED), outcome.reason
        assert not self.leaked
        assert outcome.seconds < SECONDS

    def breaks_others(self) -> None:
        """Show that the innocent one got no answer, and that nobody is named for it."""
        assert self.outcome.status is not Status.PASSED
        assert self.outcome.workers["innocent"].exit_status != 0
        assert self.outcome.workers["hostile"].offence is None


# Whether the supervisor has to refuse a connect message of its, for each protocol that has any.
MISBEHAVIOUR: Final[dict[str, tuple[str, ...]]] = {
    "byte_without_descriptor": MESSAGE,
    "descriptor_without_byte": DESCRIPTOR,
    "wrong_byte": MESSAGE,
    "largest_connect_message": MESSAGE,
    "two_descriptors": MESSAGE,
    "most_descriptors": MESSAGE,
    "silent": (),
    "deaf": (),
    "changes_the_flags": (),
    "shuts_the_address": (),
    "connect_flood": (),
    "message_flood": (),
    "descriptor_ring": (),
    "both_ends": (),
    "leaves": (),
    "malformed_messages": (),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("misbehaviour", MISBEHAVIOUR)
def test_the_others_go_on_and_a_mistake_is_no_offence(misbehaviour: str, protocol: str, tmp_path: Path) -> None:
    attack = Attack(tmp_path, misbehaviour, protocol)
    attack.harms_nobody()
    assert [worker for worker, _ in attack.refusals] == ["hostile"] * (protocol in MISBEHAVIOUR[misbehaviour])


# To whoever takes connections, acknowledged is socketpair.
@pytest.mark.parametrize("protocol", ["datagram", "socketpair"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_connection_is_refused_and_held_by_nobody(kind: str, protocol: str, tmp_path: Path) -> None:
    attack = Attack(tmp_path, "wrong_descriptor", protocol, more=f", args: {{kind: {kind}}}")
    attack.harms_nobody()
    refused = kind != "bound_socket" or protocol == "datagram"
    assert [worker for worker, _ in attack.refusals] == ["hostile"] * refused


@pytest.mark.parametrize("kind", ["file", "listener", "control_channel"])
def test_over_stream_they_are_what_a_message_must_not_carry(kind: str, tmp_path: Path) -> None:
    attack = Attack(tmp_path, "wrong_descriptor", "stream", more=f", args: {{kind: {kind}}}")
    attack.harms_nobody()
    assert attack.refusals == []


# Who is named


@pytest.mark.parametrize("protocol", MESSAGE)
def test_who_sends_what_must_be_refused_again_and_again_is_named_and_ended(protocol: str, tmp_path: Path) -> None:
    attack = Attack(tmp_path, "refused_flood", protocol)
    told = f"a connect message that is not exactly {CONNECT[protocol]!r}"
    attack.harms_nobody(offence=f"more than {REFUSED_CONNECTS_MAX} connect messages that were refused, at last {told}")
    assert attack.outcome.reason.startswith("hostile broke the rules of connecting: more than")
    assert attack.outcome.workers["hostile"].exit_status == -9
    assert attack.refusals == [("hostile", told)] * REFUSED_CONNECTS_MAX


def test_over_stream_nobody_stands_between_and_nobody_is_named(tmp_path: Path) -> None:
    Attack(tmp_path, "refused_flood", "stream").harms_nobody()


@pytest.mark.parametrize("protocol", MESSAGE)
def test_what_no_worker_sent_is_told_and_nobody_is_named(protocol: str, tmp_path: Path) -> None:
    attack = Attack(tmp_path, "refused_flood_of_a_child", protocol)
    attack.harms_nobody()
    assert [worker for worker, _ in attack.refusals] == ["hostile"] * REFUSED_CONNECTS_MAX
    assert all(text.endswith(", which no worker sent") for _, text in attack.refusals)
    assert [event.worker for event in attack.outcome.events if isinstance(event, FacetShut)] == ["hostile"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_flood_of_reports_is_an_offence_in_the_middle_of_it_too(protocol: str, tmp_path: Path) -> None:
    attack = Attack(tmp_path, "report_flood", protocol)
    attack.harms_nobody(offence="more than 10000 reports or 1048576 bytes of them")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_flood_of_output_is_an_offence_in_the_middle_of_it_too(protocol: str, tmp_path: Path) -> None:
    attack = Attack(tmp_path, "output_flood", protocol, more=", limits: {output: 4MiB}")
    attack.harms_nobody(offence="more than 4 MiB of output")
    hostile = attack.outcome.workers["hostile"]
    assert 4 << 20 < hostile.stdout.size + hostile.stderr.size < 8 << 20


# What facets are for


@pytest.mark.parametrize("protocol", DESCRIPTOR)
def test_without_facets_who_shuts_the_address_shuts_it_for_all(protocol: str, tmp_path: Path) -> None:
    Attack(tmp_path, "shuts_the_address", protocol, facets=False).breaks_others()


@pytest.mark.parametrize("protocol", ["stream", "datagram"])
def test_a_name_needs_no_facet_for_that(protocol: str, tmp_path: Path) -> None:
    Attack(tmp_path, "shuts_the_address", protocol, facets=False).harms_nobody()


@pytest.mark.parametrize("protocol", ["datagram", "socketpair"])
@pytest.mark.parametrize("misbehaviour", [*sorted(MISBEHAVIOUR.keys() - {"shuts_the_address"}), "refused_flood"])
def test_without_facets_the_victim_refuses_it_all_by_itself(misbehaviour: str, protocol: str, tmp_path: Path) -> None:
    attack = Attack(tmp_path, misbehaviour, protocol, facets=False)
    attack.harms_nobody()
    assert attack.refusals == []


@pytest.mark.parametrize("protocol", DESCRIPTOR)
def test_its_own_address_is_no_connection_to_a_victim(protocol: str, tmp_path: Path) -> None:
    Attack(tmp_path, "wrong_descriptor", protocol, facets=False, more=", args: {kind: address}").harms_nobody()


# Controls


TRUSTING: Final = """
    from sandbox.errors import ImcError
    from sandbox.programs.hostile import victim

    def accept_all(worker, guests):
        # Whatever is wrong ends it, as if it were the end of the stream.
        try:
            while True:
                guests.admit(worker.imc.imc_accept(worker.bound_socket))
        except ImcError:
            worker.bound_socket.close()

    victim.accept_all = accept_all
    main = victim.main
"""


@pytest.mark.parametrize("facets", [True, False])
def test_a_server_that_stops_at_a_malformed_message_needs_facets(facets: bool, tmp_path: Path) -> None:
    text = topology("byte_without_descriptor", "socketpair", facets=facets)
    text = text.replace("sandbox.programs.hostile.victim:main", "trusting:main")
    outcome = run_topology(write(tmp_path, text, trusting=TRUSTING))
    assert outcome.workers["innocent"].exit_status == (0 if facets else 1)


def test_without_a_quota_nobody_would_be_named_and_all_of_it_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All but what was still on its way when the innocent one had what it wanted, which ends the run.
    monkeypatch.setattr("harness.member.REFUSED_CONNECTS_MAX", 10**6)
    attack = Attack(tmp_path, "refused_flood", "socketpair")
    attack.harms_nobody()
    assert 10 * REFUSED_CONNECTS_MAX < len(attack.refusals) <= 500


def test_without_vetting_the_supervisor_would_pass_on_its_own_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the echo says into a control channel what its worker has to answer for."""
    monkeypatch.setattr("harness.routing.Routing.keep_out", lambda *_: None)
    attack = Attack(tmp_path, "wrong_descriptor", "socketpair", more=", args: {kind: control_channel}")
    assert attack.refusals == []


# An address that travelled

FRAMED: Final = """
defaults: {{protocol: {protocol}, service_port: exported}}
workers:
  victim: {{program: "sandbox.programs.hostile.victim:main"}}
  giver: {{program: "framed:{giver}"}}
  other: {{program: "framed:{other}"}}
  bystander: {{program: "framed:bystander"}}
routes:
  - {{grant: victim, to: giver}}
  - {{grant: other, to: giver}}
  - {{grant: victim, to: bystander}}
  - {{grant: giver.done, to: bystander}}
scenario:
  - {{wait: {{exit: bystander}}}}
"""
FRAMED_PROGRAMS: Final = """
    import os

    from sandbox.descriptors import DataOnlySocket
    from sandbox.errors import EndOfStream, ImcError
    from sandbox.programs.hostile.innocent import require_echo
    from sandbox.programs.hostile.means import Target

    def give(worker, descriptor):
        with worker.imc.imc_connect(worker.imports["other"]) as connection:
            worker.imc.imc_sendmsg(connection, b"for you", (descriptor,))
            try:
                worker.imc.imc_recvmsg(connection)
            except EndOfStream:
                "It has done what it wanted to."
        try:
            worker.imc.imc_connect(worker.imports["victim"])
        except ImcError:
            worker.report("refused", True)
        worker.export("done", worker.address)
        worker.next_step()

    def giver(worker):
        give(worker, worker.imports["victim"])

    def framer(worker):
        with worker.imc.imc_accept(worker.bound_socket) as connection:
            (address,) = worker.imc.imc_recvmsg(connection).descriptors
            try:
                while True:
                    Target(worker, address).send(b"junk")
            except OSError:
                worker.report("stopped", True)
        worker.next_step()

    def deceiver(worker):
        with DataOnlySocket(os.dup(worker.imports["victim"].fileno())) as pipe:
            give(worker, pipe)

    def honest(worker):
        # Writes to whatever pipe it is given.
        with worker.imc.imc_accept(worker.bound_socket) as connection:
            (pipe,) = worker.imc.imc_recvmsg(connection).descriptors
            try:
                while True:
                    worker.imc.imc_sendmsg(pipe, b"a line")
            except EndOfStream:
                worker.report("stopped", isinstance(pipe, DataOnlySocket))
        worker.next_step()

    def bystander(worker):
        worker.imports["giver.done"]
        with worker.imc.imc_connect(worker.imports["victim"]) as connection:
            require_echo(worker, connection, b"hello")
"""


def framed(tmp_path: Path, protocol: str, giver: str = "giver", other: str = "framer") -> Outcome:
    """Have one worker misuse, by itself or deceived, what another was granted."""
    text = FRAMED.format(protocol=protocol, giver=giver, other=other)
    outcome = run_topology(write(tmp_path, text, framed=FRAMED_PROGRAMS))
    assert outcome.seconds < SECONDS
    return outcome


def harms_the_giver_alone(outcome: Outcome, protocol: str) -> None:
    """Nobody is named, the facet is shut, and who else has one goes on."""
    assert outcome.reason == "all as expected"
    assert outcome.workers["other"].reports == {"stopped": True}
    assert outcome.workers["giver"].reports == {"refused": True}
    what = f"a connect message that is not exactly {CONNECT[protocol]!r}"
    told = [(event.worker, event.text) for event in outcome.events if isinstance(event, ConnectRefused)]
    assert told == [("giver", f"{what}, sent by other")] * REFUSED_CONNECTS_MAX
    (shut,) = [event for event in outcome.events if isinstance(event, FacetShut)]
    why = f"more than {REFUSED_CONNECTS_MAX} connect messages that were refused, at last {what}, sent by other"
    assert (shut.worker, shut.name, shut.text) == ("giver", "victim", why)


@pytest.mark.parametrize("protocol", MESSAGE)
def test_an_address_that_others_misuse_is_shut_and_nobody_is_named(protocol: str, tmp_path: Path) -> None:
    harms_the_giver_alone(framed(tmp_path, protocol), protocol)


@pytest.mark.parametrize("protocol", DESCRIPTOR)
def test_who_is_made_to_write_to_an_address_as_to_a_pipe_is_no_offender(protocol: str, tmp_path: Path) -> None:
    harms_the_giver_alone(framed(tmp_path, protocol, "deceiver", "honest"), protocol)


def test_if_the_importer_were_held_to_account_anybody_could_have_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.member.Member.is_process", lambda member, _: member.plan.name == "giver")
    assert framed(tmp_path, "socketpair").workers["giver"].offence is not None


# Whom the supervisor waits for

CONSPIRACY: Final = """
defaults: {{protocol: {protocol}}}
workers:
  exporter: {{program: "sandbox.programs.hostile.conspiracy:exporter", service_port: exported}}
  importer: {{program: "sandbox.programs.hostile.conspiracy:importer", service_port: unexported}}
routes:
  - {{grant: exporter, to: importer}}
  - {{grant: exporter.dropping, to: importer, as: dropping}}
scenario:
  - {{wait: {{report: {{importer: sent}}}}}}
  # The supervisor closes it within a few milliseconds; with the importer's end what lingers would end, too.
  - {{wait: 50ms}}
"""


def longest_call(folder: Path, protocol: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Have the two conspire, and return how long the supervisor was held up at most in what it does for them."""
    longest = 0.0

    def timed(call: Callable[..., None]) -> Callable[..., None]:
        def measured(*args: object) -> None:
            nonlocal longest
            began = time.monotonic()
            call(*args)
            longest = max(longest, time.monotonic() - began)

        return measured

    with monkeypatch.context() as patch:
        patch.setattr(Forwarder, "_read", timed(Forwarder._read))
        patch.setattr(Undertaker, "close", timed(Undertaker.close))
        outcome = run_topology(write(folder, CONSPIRACY.format(protocol=protocol)))
    assert outcome.status is Status.PASSED
    return longest


@pytest.mark.parametrize("protocol", MESSAGE)
def test_the_supervisor_does_not_wait_for_what_was_dropped_behind_its_back(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert longest_call(tmp_path, protocol, monkeypatch) < LINGERS / 2


def test_if_it_closed_by_itself_what_it_passed_on_it_would_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.undertaker.close_all", discard)
    # Unless the importer itself is slow to close, and the last one.
    assert any(longest_call(tmp_path, "socketpair", monkeypatch) > LINGERS / 2 for _ in range(5))
