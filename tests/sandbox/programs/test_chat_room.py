"""The room: one order, exact ends, and members that mean it ill or do not listen."""

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from sandbox import control
from sandbox.abi import USER_BYTES_MAX
from sandbox.descriptors import ConnectedSocket
from sandbox.errors import EndOfStream
from sandbox.imc import Imc
from sandbox.programs import chat_room
from sandbox.programs.chat_room import (
    DROPPED,
    EXPELLED,
    MEMBERS_MAX,
    NAME_BYTES_MAX,
    QUEUE_MAX,
    SAID,
    TEXT_MAX,
    VISITS_MAX,
    Gone,
    Room,
)
from sandbox.programs.messages import hear, memory_of, say
from sandbox.transport import discard, send_packet
from tests.kernel import Background, until
from tests.sandbox.programs.served import Served, in_background

VISITS = 3
# A character that takes 12 bytes, and a name that takes as many as a name may.
WIDE = "\U0001f600"
WIDEST_NAME = WIDE * 16 + "n" * 6


class Party:
    """A room in threads of this process, and its members."""

    def __init__(self, door: Served) -> None:
        self.door = door
        self.imc = door.imc
        self.gone: list[Gone] = []

    def enter(self, name: object = "guest", *, speaks: object = True) -> ConnectedSocket:
        connection = self.door.connect()
        say(self.imc, connection, "join", {"name": name, "speaks": speaks})
        return connection

    def join(self, name: str, *, speaks: bool = True) -> ConnectedSocket:
        """Enter, and hear of that."""
        connection = self.enter(name, speaks=speaks)
        assert self.hear(connection)[0] == "welcome"
        assert self.hear(connection)[0] == "joined"
        return connection

    def lets_in(self) -> bool:
        """Say whether there is a place for one more."""
        try:
            with self.join("next"):
                return True
        except EndOfStream:
            return False

    def say(self, connection: ConnectedSocket, kind: str, body: object = None) -> None:
        say(self.imc, connection, kind, body)

    def hear(self, connection: ConnectedSocket) -> tuple[str, Any]:
        return hear(self.imc, connection)[:2]

    def is_out(self, connection: ConnectedSocket) -> bool:
        """Hear what is left, until the room has ended the connection."""
        with suppress(EndOfStream):
            while True:
                self.hear(connection)
        return True


@pytest.fixture(params=["socketpair", "acknowledged"])
def party(request: pytest.FixtureRequest) -> Iterator[Party]:
    imc = Imc(request.param)
    gone: list[Gone] = []
    opened = Room(imc, VISITS, gone.append)
    running = threading.Thread(target=opened.run, daemon=True)
    running.start()
    with in_background(imc, opened.accept_all) as door:
        made = Party(door)
        made.gone = gone
        yield made
    running.join(10)
    assert not running.is_alive()


def test_all_who_are_there_hear_the_same_in_the_same_order(party: Party) -> None:
    with party.join("a") as a, party.join("b", speaks=False) as b:
        party.say(a, "say", "hello")
        party.say(a, "leave")
        heard = [("joined", [1, "b", False]), ("said", [2, "a", "hello"]), ("left", [3, "a"])]
        assert [party.hear(a) for _ in range(3)] == heard
        assert party.is_out(a)
        assert [party.hear(b) for _ in range(2)] == heard[1:]


def test_who_joins_is_told_who_is_there(party: Party) -> None:
    with party.join("a"), party.join("b", speaks=False), party.enter("c") as c:
        assert party.hear(c) == ("welcome", {"a": True, "b": False})


def test_the_ends_are_reported_once_so_many_are_gone(party: Party) -> None:
    with party.join("witness") as witness:
        with party.join("vanishes"):
            pass
        assert [party.hear(witness)[1][1:] for _ in range(2)] == [["vanishes", True], ["vanishes"]]
        with party.join("leaves") as leaves:
            party.say(leaves, "leave")
            assert party.is_out(leaves)
        assert party.gone == []
        with party.join("rude") as rude:
            party.say(rude, "shout")
            while party.hear(witness)[0] != EXPELLED:
                pass
    assert party.gone == [{"left": ["leaves"], "vanished": ["vanishes"], "dropped": [], "expelled": ["rude"]}]


def test_a_name_is_free_again_once_its_owner_is_gone(party: Party) -> None:
    with party.join("a") as a:
        with party.enter("a") as second:
            assert party.is_out(second)
        party.say(a, "leave")
        assert party.is_out(a)
    with party.join("a"):
        pass


@pytest.mark.parametrize("name", [None, 7, "n" * NAME_BYTES_MAX, WIDE * 17, ["a"]], ids=repr)
def test_who_has_no_name_does_not_come_in(name: object, party: Party) -> None:
    with party.join("witness") as witness:
        with party.enter(name) as connection:
            assert party.is_out(connection)
        with party.join("next"):
            assert party.hear(witness) == ("joined", [1, "next", True])


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("join", {"name": "again", "speaks": True}),
        ("say", None),
        ("say", "x" * (TEXT_MAX + 1)),
        ("leave", "now"),
        ("shout", "hello"),
    ],
    ids=str,
)
def test_who_breaks_the_rules_is_expelled_and_the_others_are_told(kind: str, body: object, party: Party) -> None:
    with party.join("witness") as witness, party.join("rude") as rude:
        party.say(rude, kind, body)
        assert party.is_out(rude)
        assert [party.hear(witness) for _ in range(2)] == [("joined", [1, "rude", True]), (EXPELLED, [2, "rude"])]


def test_no_message_and_descriptors_are_against_the_rules(party: Party) -> None:
    with party.join("witness") as witness:
        with party.join("rude") as rude:
            send_packet(rude.socket, [b"no IMC"])
            assert party.is_out(rude)
        with party.join("gives") as gives, memory_of(party.imc, b"") as memory:
            say(party.imc, gives, "say", "take this", memory)
            assert party.is_out(gives)
        heard = [party.hear(witness) for _ in range(4)]
        assert [(what, body[1]) for what, body in heard if what != "joined"] == [
            (EXPELLED, "rude"),
            (EXPELLED, "gives"),
        ]


def test_who_only_listens_may_not_speak_and_who_has_not_joined_neither(party: Party) -> None:
    with party.join("listener", speaks=False) as listener, party.door.connect() as stranger:
        for connection in (listener, stranger):
            party.say(connection, "say", "hello")
            assert party.is_out(connection)


def test_the_longest_text_of_the_widest_characters_is_heard(party: Party) -> None:
    with party.join(WIDEST_NAME) as connection:
        text = WIDE * TEXT_MAX
        party.imc.imc_sendmsg(connection, f'{{"say": "{text}"}}'.encode())
        assert party.hear(connection)[1][2] == text


def test_a_report_of_the_widest_names_fits_into_a_message() -> None:
    assert len(json.dumps(WIDEST_NAME)) == NAME_BYTES_MAX
    reports: list[bytes] = []
    with ExitStack() as stack:
        imc = Imc("socketpair")

        def report(gone: Gone) -> None:
            reports.append(control.encode(control.REPORT, {"key": "gone", "value": gone}))

        opened = Room(imc, VISITS_MAX, report)
        running = threading.Thread(target=opened.run, daemon=True)
        running.start()
        party = Party(stack.enter_context(in_background(imc, opened.accept_all)))
        for _ in range(VISITS_MAX):
            with party.join(WIDEST_NAME) as connection:
                party.say(connection, "leave")
                assert party.is_out(connection)
    running.join(10)
    assert len(reports) == 1
    assert len(reports[0]) <= USER_BYTES_MAX


def test_a_room_for_more_visits_than_a_report_has_is_not_opened() -> None:
    with pytest.raises(ValueError, match="513 visits, more than 512"):
        Room(Imc("socketpair"), VISITS_MAX + 1, lambda _gone: None)


def test_one_who_does_not_listen_is_dropped_and_nobody_else_misses_a_word(party: Party) -> None:
    with party.join("deaf", speaks=False) as deaf, party.join("a") as a:
        text = "x" * TEXT_MAX
        for number in itertools.count(2):
            party.say(a, "say", text)
            heard = party.hear(a)
            if heard[0] == DROPPED:
                break
            assert heard == ("said", [number, "a", text])
        assert heard == (DROPPED, [number, "deaf"])
        assert number > QUEUE_MAX
        assert party.hear(a) == ("said", [number + 1, "a", text])
        assert party.is_out(deaf)


def test_one_who_talks_without_listening_holds_up_nobody_and_is_dropped(party: Party) -> None:
    def chatter(deaf: ConnectedSocket) -> None:
        with suppress(EndOfStream):
            while True:
                party.say(deaf, "say", "x" * TEXT_MAX)

    with party.join("a") as a, party.join("deaf") as deaf:
        chattering = Background(lambda: chatter(deaf))
        while (what := party.hear(a)[0]) != DROPPED:
            if what == SAID:
                party.say(a, "say", "x" * TEXT_MAX)
        chattering.result()


def test_one_who_leaves_and_is_gone_before_it_hears_of_it_has_left(party: Party) -> None:
    with party.join("witness") as witness:
        with party.join("hasty") as hasty:
            party.say(hasty, "leave")
        assert [party.hear(witness)[0] for _ in range(2)] == ["joined", "left"]
        with party.join("next"):
            assert party.hear(witness) == ("joined", [3, "next", True])


@pytest.mark.parametrize("data", [b'{"say": "take this"}', b"no JSON", None], ids=["wrong", "no JSON", "no IMC"])
def test_what_takes_its_time_to_be_closed_holds_up_nobody(
    data: bytes | None, party: Party, monkeypatch: pytest.MonkeyPatch
) -> None:
    others_went_on = threading.Event()

    def take_time(fds: list[int]) -> None:
        assert others_went_on.wait(10)
        discard(fds)

    monkeypatch.setattr(chat_room, "discard", take_time)
    with party.join("witness") as witness, party.join("rude") as rude:
        left, right = party.imc.imc_socketpair()
        with left, right:
            if data is None:
                send_packet(rude.socket, [b"no IMC"], [left.fileno()])
            else:
                party.imc.imc_sendmsg(rude, data, (left,))
        assert [party.hear(witness)[0] for _ in range(2)] == ["joined", EXPELLED]
        others_went_on.set()


def test_more_than_there_is_room_for_are_turned_away(party: Party) -> None:
    with ExitStack() as stack:
        members = [stack.enter_context(party.join(f"member.{number}")) for number in range(MEMBERS_MAX)]
        with party.door.connect() as surplus:
            assert party.is_out(surplus)
        members[0].close()
        assert party.hear(members[1])[0] == "joined"
        # The place is free once the connection is closed, which may take its time.
        until(party.lets_in, "somebody is let in again")
