"""The broker, the gpu and the network process, and clients that mean them ill: each ends alone, and is counted."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from sandbox.abi import MEMORY_PAGE
from sandbox.descriptors import ConnectedSocket, SharedMemory
from sandbox.errors import EndOfStream
from sandbox.imc import Imc
from sandbox.programs import browser
from sandbox.programs.browser import (
    LEFT,
    PAGE_BYTES,
    VANISHED,
    Reception,
    by_name,
    film_of,
    frame_of,
    introduced,
    page_of,
    show,
)
from sandbox.programs.ledger import Ledger
from sandbox.programs.messages import close_all, data_of, hear, memory_of, say
from sandbox.programs.passes import Client, Passes
from sandbox.transport import send_packet
from tests.kernel import until
from tests.sandbox.connections import make_link
from tests.sandbox.programs.served import Served, served

FRAME = b"frame"
PASSES = Passes(b"key")
GOOD: dict[str, Any] = {
    "pass": PASSES.write(Client(1, "bad")),
    "frame": 0,
    "bytes": len(FRAME),
    "sha256": hashlib.sha256(FRAME).hexdigest(),
}
GET = {"pass": PASSES.write(Client(2, "good")), "url": "url"}
NO_AUDITS: list[tuple[str, object]] = [("audit", count) for count in ("all", None, True, 1.0, -1, 10**9)]
# Of another key, of another number, of another name, and no passes at all.
NO_PASSES: list[object] = [
    Passes(b"other").write(Client(1, "bad")),
    GOOD["pass"].replace("1", "2", 1),
    GOOD["pass"].replace("bad", "good"),
    GOOD["pass"] + "\n",
    "1 bad " + "\u00e9" * 64,
    "9" * 5000 + " bad " + "0" * 64,
    "bad",
    None,
    ["a"],
]
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
    with served(imc, lambda connection: browser.draw_all(imc, connection, ledger, PASSES)) as server:
        yield server


@pytest.fixture
def network(imc: Imc, ledger: Ledger) -> Iterator[Served]:
    with served(imc, lambda connection: browser.fetch(imc, connection, ledger, PASSES)) as server:
        yield server


def ends(imc: Imc, connection: ConnectedSocket) -> bool:
    """Say whether the server has ended the connection."""
    with pytest.raises(EndOfStream):
        hear(imc, connection)
    return True


def once_gone(ledger: Ledger, count: int) -> dict[str, Any]:
    """Return what was seen, under the names, once so many clients are gone."""
    link = make_link(Imc("socketpair"))
    with link.client, link.server:
        return by_name({str(number): seen for number, seen in ledger.once_gone(count, link.server).items()})


def until_gone(ledger: Ledger, count: int) -> None:
    """Wait for more to be gone than an auditor could ask for."""
    until(lambda: ledger._gone == count, "it is gone")


def draw(imc: Imc, connection: ConnectedSocket, **changed: Any) -> None:
    with memory_of(imc, FRAME) as memory:
        say(imc, connection, "draw", GOOD | changed, memory)


def test_frames_that_are_what_they_say_are_drawn_and_audited_exactly(gpu: Served) -> None:
    page = page_of("url")
    frames = [frame_of(page, number) for number in range(3)]
    with gpu.connect() as client:
        for number, frame in enumerate(frames):
            show(gpu.imc, client, PASSES.write(Client(7, "good")), number, frame)
            assert hear(gpu.imc, client)[:2] == ("drawn", True)
    with gpu.connect() as auditor:
        say(gpu.imc, auditor, "audit", 1)
        assert hear(gpu.imc, auditor)[:2] == ("ledger", {"7": ["good", [3, film_of(frames)]]})


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
    assert once_gone(ledger, 1) == {"bad": [0, film_of([])]}


@pytest.mark.parametrize("length", [-1, MEMORY_PAGE + 1, None, "5"])
def test_a_frame_that_is_none_ends_the_connection(length: object, gpu: Served, ledger: Ledger) -> None:
    with gpu.connect() as client:
        draw(gpu.imc, client)
        assert hear(gpu.imc, client).body is True
        draw(gpu.imc, client, frame=1, bytes=length)
        assert ends(gpu.imc, client)
    assert once_gone(ledger, 1) == {"bad": [1, film_of([FRAME])]}


@pytest.mark.parametrize("shown", NO_PASSES, ids=lambda shown: repr(shown)[:20])
def test_who_has_no_pass_is_out(shown: object, gpu: Served, ledger: Ledger) -> None:
    with gpu.connect() as client:
        draw(gpu.imc, client, **{"pass": shown})
        assert ends(gpu.imc, client)
    assert once_gone(ledger, 0) == {}


def test_a_pass_counts_once_and_for_all(gpu: Served) -> None:
    with gpu.connect() as first:
        draw(gpu.imc, first)
        assert hear(gpu.imc, first).body is True
        with gpu.connect() as second:
            draw(gpu.imc, second)
            assert ends(gpu.imc, second)
    with gpu.connect() as third:
        draw(gpu.imc, third)
        assert ends(gpu.imc, third)


def test_who_has_called_itself_the_same_before_keeps_nobody_out(gpu: Served, ledger: Ledger) -> None:
    for number in (1, 2):
        with gpu.connect() as client:
            draw(gpu.imc, client, **{"pass": PASSES.write(Client(number, "victim"))})
            assert hear(gpu.imc, client).body is True
    drawn = [1, film_of([FRAME])]
    assert once_gone(ledger, 2) == {"victim (1)": drawn, "victim (2)": drawn}


def test_another_s_pass_in_the_middle_draws_nothing(gpu: Served, ledger: Ledger) -> None:
    with gpu.connect() as client:
        draw(gpu.imc, client)
        assert hear(gpu.imc, client).body is True
        draw(gpu.imc, client, frame=1, **{"pass": PASSES.write(Client(2, "other"))})
        assert hear(gpu.imc, client).body is False
    assert once_gone(ledger, 1) == {"bad": [1, film_of([FRAME])]}


def test_what_is_no_frame_is_out(gpu: Served, ledger: Ledger) -> None:
    for kind, body in (("draw", None), ("draw", []), ("paint", GOOD), *NO_AUDITS):
        with gpu.connect() as client, memory_of(gpu.imc, FRAME) as memory:
            say(gpu.imc, client, kind, body, memory)
            assert ends(gpu.imc, client)
    with gpu.connect() as client:
        send_packet(client.socket, [b"no IMC"])
        assert ends(gpu.imc, client)
    assert once_gone(ledger, 0) == {}


def test_memory_that_could_shrink_is_out(gpu: Served, ledger: Ledger) -> None:
    with gpu.connect() as client, SharedMemory(os.memfd_create("shrinks"), MEMORY_PAGE) as memory:
        os.ftruncate(memory.fileno(), MEMORY_PAGE)
        say(gpu.imc, client, "draw", GOOD, memory)
        assert ends(gpu.imc, client)
    assert once_gone(ledger, 1) == {"bad": [0, film_of([])]}


def test_one_that_never_reads_holds_up_nobody(gpu: Served) -> None:
    with gpu.connect() as silent, gpu.connect() as client:
        draw(gpu.imc, silent)
        draw(gpu.imc, client, **{"pass": PASSES.write(Client(2, "other"))})
        assert hear(gpu.imc, client).body is True


def test_a_frame_whose_sender_died_is_drawn_all_the_same(gpu: Served, ledger: Ledger) -> None:
    with gpu.connect() as client:
        draw(gpu.imc, client)
    assert once_gone(ledger, 1) == {"bad": [1, film_of([FRAME])]}


def test_who_comes_and_goes_without_end_keeps_nobody_out_and_who_is_there_is_not_forgotten(
    gpu: Served, ledger: Ledger
) -> None:
    with gpu.connect() as stays:
        draw(gpu.imc, stays, **{"pass": PASSES.write(Client(100, "stays"))})
        assert hear(gpu.imc, stays).body is True
        for number in range(1, 11):
            with gpu.connect() as client:
                draw(gpu.imc, client, **{"pass": PASSES.write(Client(number, f"client.{number}"))})
                assert hear(gpu.imc, client).body is True
            until_gone(ledger, number)
        assert list(once_gone(ledger, 4)) == ["stays", "client.8", "client.9", "client.10"]


def test_more_at_a_time_than_a_ledger_holds_are_out(gpu: Served) -> None:
    with ExitStack() as stack:
        for number in range(1, 6):
            client = stack.enter_context(gpu.connect())
            draw(gpu.imc, client, **{"pass": PASSES.write(Client(number, "client"))})
            if number < 5:
                assert hear(gpu.imc, client).body is True
        assert ends(gpu.imc, client)


def test_auditors_who_do_not_wait_for_the_answer_hold_no_place(imc: Imc, ledger: Ledger) -> None:
    with served(imc, lambda connection: browser.fetch(imc, connection, ledger, PASSES), connections_max=2) as network:

        def is_served() -> bool:
            with suppress(EndOfStream), network.connect() as client:
                say(imc, client, "get", {"pass": PASSES.write(Client(1, "innocent")), "url": "url"})
                data_of(hear(imc, client).descriptors, PAGE_BYTES, PAGE_BYTES)
                return True
            return False

        for _ in range(2):
            with network.connect() as auditor:
                say(imc, auditor, "audit", 4)
        until(is_served, "their places are free")


def test_the_network_has_a_page_for_every_url(network: Served, ledger: Ledger) -> None:
    with network.connect() as client:
        say(network.imc, client, "get", GET)
        _, length, descriptors = hear(network.imc, client)
        assert data_of(descriptors, length, PAGE_BYTES) == page_of("url")
    assert once_gone(ledger, 1) == {"good": PAGE_BYTES}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("get", None),
        ("get", "url"),
        ("take", GET),
        *(("get", GET | {"url": url}) for url in NO_NAMES),
        *(("get", GET | {"pass": shown}) for shown in NO_PASSES),
        *NO_AUDITS,
    ],
    ids=lambda value: repr(value)[:20],
)
def test_who_asks_for_nothing_that_there_is_gets_no_page(
    kind: str, body: object, network: Served, ledger: Ledger
) -> None:
    with network.connect() as client:
        say(network.imc, client, kind, body)
        assert ends(network.imc, client)
    assert once_gone(ledger, 0) == {}


@pytest.fixture
def vanished() -> list[bool]:
    return []


@pytest.fixture
def broker(imc: Imc, ledger: Ledger, vanished: list[bool]) -> Iterator[Served]:
    others = [imc.imc_makeboundsock() for _ in range(2)]
    addresses = (others[0][1], others[1][1])
    reception = Reception(PASSES, ledger)

    def serve(connection: ConnectedSocket) -> None:
        browser.introduce(imc, connection, addresses, reception, lambda: vanished.append(True))

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
            close_all(introduced(hear(broker.imc, connection))[1:])
            if last:
                say(broker.imc, connection, last, name)
    assert once_gone(ledger, 3) == {"leaves": LEFT, "vanishes": VANISHED, "babbles": VANISHED}
    assert vanished == [True, True]


@pytest.mark.parametrize("name", NO_NAMES, ids=repr)
def test_the_broker_introduces_nobody_without_a_name(name: object, broker: Served, ledger: Ledger) -> None:
    with come(broker, name) as connection:
        assert ends(broker.imc, connection)
    assert once_gone(ledger, 0) == {}


def test_a_renderer_that_dies_at_once_has_vanished(broker: Served, ledger: Ledger, vanished: list[bool]) -> None:
    come(broker, "short-lived").close()
    assert once_gone(ledger, 1) == {"short-lived": VANISHED}
    assert vanished == [True]


def test_who_is_called_like_another_is_introduced_as_somebody_else(broker: Served, ledger: Ledger) -> None:
    with come(broker, "victim") as first, come(broker, "victim") as second:
        passes = []
        for connection in (first, second):
            shown, *addresses = introduced(hear(broker.imc, connection))
            close_all(addresses)
            passes.append(PASSES.read(shown))
        say(broker.imc, second, "leave", None)
        assert {made.number for made in passes} == {1, 2}
        assert {made.name for made in passes} == {"victim"}
    number = passes[1].number
    assert once_gone(ledger, 2) == {f"victim ({3 - number})": VANISHED, f"victim ({number})": LEFT}


def test_the_key_is_the_same_at_both_ends() -> None:
    link = make_link(Imc("socketpair"))
    with link.client, link.server:
        issuer = Passes.shared(link.imc, link.server)
        client = Client(1, "any")
        assert Passes.learned(link.imc, link.client).read(issuer.write(client)) == client
