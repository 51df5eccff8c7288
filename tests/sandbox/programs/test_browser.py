"""The broker, the gpu and the network process, and clients that mean them ill: each ends alone, and is counted."""

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.abi import MEMORY_PAGE
from sandbox.descriptors import ConnectedSocket, SharedMemory
from sandbox.errors import EndOfStream
from sandbox.imc import Imc
from sandbox.programs import browser
from sandbox.programs.browser import LEFT, PAGE_BYTES, VANISHED, Ledger, film_of, frame_of, introduced, page_of, show
from sandbox.programs.messages import data_of, hear, memory_of, say
from sandbox.transport import send_packet
from tests.sandbox.programs.served import Served, served

FRAME = b"frame"
GOOD: dict[str, Any] = {
    "renderer": "bad",
    "frame": 0,
    "bytes": len(FRAME),
    "sha256": hashlib.sha256(FRAME).hexdigest(),
}
NO_NAMES: list[object] = [None, "", 7, "two words", "n" * 65, "\ud800", ["a"], {}]


@pytest.fixture(params=["socketpair", "acknowledged"])
def imc(request: pytest.FixtureRequest) -> Imc:
    # Those whose accept ends with the address.
    return Imc(request.param)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(clients_max=4)


@pytest.fixture
def gpu(imc: Imc, ledger: Ledger) -> Iterator[Served]:
    with served(imc, lambda connection: browser.draw_all(imc, connection, ledger)) as server:
        yield server


@pytest.fixture
def network(imc: Imc, ledger: Ledger) -> Iterator[Served]:
    with served(imc, lambda connection: browser.fetch(imc, connection, ledger)) as server:
        yield server


def ends(imc: Imc, connection: ConnectedSocket) -> bool:
    """Say whether the server has ended the connection."""
    with pytest.raises(EndOfStream):
        hear(imc, connection)
    return True


def draw(imc: Imc, connection: ConnectedSocket, **changed: Any) -> None:
    with memory_of(imc, FRAME) as memory:
        say(imc, connection, "draw", GOOD | changed, memory)


def test_frames_that_are_what_they_say_are_drawn_and_audited_exactly(gpu: Served) -> None:
    page = page_of("url")
    frames = [frame_of(page, number) for number in range(3)]
    with gpu.connect() as client:
        for number, frame in enumerate(frames):
            show(gpu.imc, client, "good", number, frame)
            assert hear(gpu.imc, client)[:2] == ("drawn", True)
    with gpu.connect() as auditor:
        say(gpu.imc, auditor, "audit", 1)
        assert hear(gpu.imc, auditor)[:2] == ("ledger", {"good": [3, film_of(frames)]})


@pytest.mark.parametrize(
    "changed",
    [
        {"sha256": "0" * 64},
        {"sha256": None},
        {"frame": 1},
        {"bytes": 4},
        {"more": 1},
    ],
    ids=str,
)
def test_a_frame_that_is_not_what_it_says_is_not_drawn(changed: dict[str, Any], gpu: Served, ledger: Ledger) -> None:
    with gpu.connect() as client:
        draw(gpu.imc, client, **changed)
        assert hear(gpu.imc, client)[:2] == ("drawn", False)
        assert ends(gpu.imc, client)
    assert ledger.once_gone(1) == {"bad": [0, film_of([])]}


@pytest.mark.parametrize("length", [-1, MEMORY_PAGE + 1, None, "5"])
def test_a_frame_that_is_none_ends_the_connection(length: object, gpu: Served, ledger: Ledger) -> None:
    with gpu.connect() as client:
        draw(gpu.imc, client)
        assert hear(gpu.imc, client).body is True
        draw(gpu.imc, client, frame=1, bytes=length)
        assert ends(gpu.imc, client)
    assert ledger.once_gone(1) == {"bad": [1, film_of([FRAME])]}


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
def test_who_has_no_name_is_out(name: object, gpu: Served, ledger: Ledger) -> None:
    with gpu.connect() as client:
        draw(gpu.imc, client, renderer=name)
        assert ends(gpu.imc, client)
    assert ledger.once_gone(0) == {}


def test_a_name_is_taken_once_and_for_all(gpu: Served) -> None:
    with gpu.connect() as first:
        draw(gpu.imc, first)
        assert hear(gpu.imc, first).body is True
        with gpu.connect() as second:
            draw(gpu.imc, second)
            assert ends(gpu.imc, second)
    with gpu.connect() as third:
        draw(gpu.imc, third)
        assert ends(gpu.imc, third)


def test_another_s_name_in_the_middle_draws_nothing(gpu: Served, ledger: Ledger) -> None:
    with gpu.connect() as client:
        draw(gpu.imc, client)
        assert hear(gpu.imc, client).body is True
        draw(gpu.imc, client, renderer="other", frame=1)
        assert hear(gpu.imc, client).body is False
    assert ledger.once_gone(1) == {"bad": [1, film_of([FRAME])]}


def test_what_is_no_frame_is_out(gpu: Served, ledger: Ledger) -> None:
    for kind, body in (("draw", None), ("draw", []), ("paint", GOOD), ("audit", "all"), ("audit", None)):
        with gpu.connect() as client, memory_of(gpu.imc, FRAME) as memory:
            say(gpu.imc, client, kind, body, memory)
            assert ends(gpu.imc, client)
    with gpu.connect() as client:
        send_packet(client.socket, [b"no IMC"])
        assert ends(gpu.imc, client)
    assert ledger.once_gone(0) == {}


def test_memory_that_could_shrink_is_out(gpu: Served, ledger: Ledger) -> None:
    with gpu.connect() as client, SharedMemory(os.memfd_create("shrinks"), MEMORY_PAGE) as memory:
        os.ftruncate(memory.fileno(), MEMORY_PAGE)
        say(gpu.imc, client, "draw", GOOD, memory)
        assert ends(gpu.imc, client)
    assert ledger.once_gone(1) == {"bad": [0, film_of([])]}


def test_one_that_never_reads_holds_up_nobody(gpu: Served) -> None:
    with gpu.connect() as silent, gpu.connect() as client:
        draw(gpu.imc, silent, renderer="silent")
        draw(gpu.imc, client, renderer="other")
        assert hear(gpu.imc, client).body is True


def test_a_frame_whose_sender_died_is_drawn_all_the_same(gpu: Served, ledger: Ledger) -> None:
    with gpu.connect() as client:
        draw(gpu.imc, client)
    assert ledger.once_gone(1) == {"bad": [1, film_of([FRAME])]}


def test_more_clients_than_a_ledger_holds_are_out(gpu: Served) -> None:
    for number in range(4):
        with gpu.connect() as client:
            draw(gpu.imc, client, renderer=f"client.{number}")
            assert hear(gpu.imc, client).body is True
    with gpu.connect() as client:
        draw(gpu.imc, client, renderer="client.4")
        assert ends(gpu.imc, client)


def test_the_network_has_a_page_for_every_url(network: Served, ledger: Ledger) -> None:
    with network.connect() as client:
        say(network.imc, client, "get", "url")
        _, length, descriptors = hear(network.imc, client)
        assert data_of(descriptors, length, PAGE_BYTES) == page_of("url")
    for url in NO_NAMES:
        with network.connect() as client:
            say(network.imc, client, "get", url)
            assert ends(network.imc, client)
    assert ledger.once_gone(1) == {"url": PAGE_BYTES}


@pytest.fixture
def vanished() -> list[bool]:
    return []


@pytest.fixture
def broker(imc: Imc, ledger: Ledger, vanished: list[bool]) -> Iterator[Served]:
    others = [imc.imc_makeboundsock() for _ in range(2)]
    addresses = (others[0][1], others[1][1])

    def serve(connection: ConnectedSocket) -> None:
        browser.introduce(imc, connection, addresses, ledger, lambda: vanished.append(True))

    with served(imc, serve) as server:
        yield server
    for descriptors in others:
        for descriptor in descriptors:
            descriptor.close()


def come(broker: Served, name: object) -> ConnectedSocket:
    connection = broker.connect()
    say(broker.imc, connection, "come", name)
    return connection


def test_the_broker_introduces_and_tells_leaving_from_vanishing(
    broker: Served, ledger: Ledger, vanished: list[bool]
) -> None:
    for name, last in (("leaves", "leave"), ("vanishes", None), ("babbles", "babble")):
        with come(broker, name) as connection:
            for address in introduced(hear(broker.imc, connection)):
                address.close()
            if last:
                say(broker.imc, connection, last, name)
    assert ledger.once_gone(3) == {"leaves": LEFT, "vanishes": VANISHED, "babbles": VANISHED}
    assert vanished == [True, True]


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
def test_the_broker_introduces_nobody_without_a_name(name: object, broker: Served, ledger: Ledger) -> None:
    with come(broker, name) as connection:
        assert ends(broker.imc, connection)
    assert ledger.once_gone(0) == {}


def test_a_renderer_that_dies_at_once_has_vanished(broker: Served, ledger: Ledger, vanished: list[bool]) -> None:
    come(broker, "short-lived").close()
    assert ledger.once_gone(1) == {"short-lived": VANISHED}
    assert vanished == [True]
