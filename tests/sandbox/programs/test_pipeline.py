"""What the stages do, however the data comes in pieces, and when it ends."""

import os
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.abi import USER_BYTES_MAX
from sandbox.descriptors import DataOnlySocket
from sandbox.errors import EndOfStream
from sandbox.imc import Imc
from sandbox.programs.messages import close_all, hear, memory_of, say
from sandbox.programs.pipeline import WORK, Chain, hand_out, handed_out, received, send, told
from sandbox.transport import send_packet
from tests.kernel import Background
from tests.sandbox.connections import Link
from tests.sandbox.programs.served import Served, served

TEXTS = st.lists(st.sampled_from([b"a", b"#", b" ", b"\n", b"\t", b"\r", b"# b\n"])).map(b"".join)


def in_pieces(text: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[begin:end] for begin, end in pairwise(ends)]


@pytest.mark.parametrize("work", ["upper", "strip"])
@given(text=TEXTS, places=st.lists(st.integers(0, 100)))
def test_a_stage_makes_of_pieces_what_it_makes_of_the_whole(work: str, text: bytes, places: list[int]) -> None:
    assert b"".join(WORK[work].flow(in_pieces(text, places))) == WORK[work].whole(text)


@given(text=TEXTS, places=st.lists(st.integers(0, 100)))
def test_what_was_compressed_is_the_same_again(text: bytes, places: list[int]) -> None:
    assert b"".join(WORK["decompress"].flow(WORK["compress"].flow(in_pieces(text, places)))) == text
    assert WORK["decompress"].whole(WORK["compress"].whole(text)) == text


def test_lines_that_are_comments_are_left_out() -> None:
    assert WORK["strip"].whole(b"a # b\n  # c\n\n#d\ne\n#") == b"a # b\n\ne\n"


def test_what_arrives_is_what_was_sent_and_ends_when_the_other_end_does(link: Link) -> None:
    data = os.urandom(3 * USER_BYTES_MAX + 1)
    left, right = link.imc.imc_socketpair()

    def sending() -> None:
        with left:
            send(link.imc, left, [data, b"", data])

    background = Background(sending)
    with right:
        assert told(received(link.imc, right)) == told([data, data])
    background.result()


def test_ends_that_are_handed_out_are_kept_by_nobody_else(link: Link) -> None:
    left, right = link.imc.imc_socketpair()
    hand_out(link.imc, link.server, "upper", left)
    assert left.fileno() == -1
    work, (output,) = handed_out(link.imc, link.client)
    assert work == "upper"
    output.close()
    with right, pytest.raises(EndOfStream):
        link.imc.imc_recvmsg(right)


TODO = ["upper", "strip"]
NO_PLACES: list[tuple[str, object]] = [("x", "name"), ("stage", None), ("source", {}), ("sink", ["name"])]


@pytest.fixture(params=["socketpair", "acknowledged"])
def imc(request: pytest.FixtureRequest) -> Imc:
    # Those whose accept ends with the address.
    return Imc(request.param)


@pytest.fixture
def coordinator(imc: Imc) -> Iterator[Served]:
    chain = Chain(imc, TODO)
    with served(imc, chain.join) as server:
        yield server
    chain.close()


def joined(coordinator: Served, role: str) -> tuple[str, list[DataOnlySocket]]:
    """Return what the coordinator hands out to one that comes as `role`."""
    with coordinator.connect() as connection:
        say(coordinator.imc, connection, role, "name")
        return handed_out(coordinator.imc, connection)


def assert_all_can_join(coordinator: Served) -> None:
    roles = ["sink", "stage", "source", "stage"]
    places = {role: joined(coordinator, role) for role in roles[:3]} | {"last": joined(coordinator, "stage")}
    assert [places[key][0] for key in ("source", "stage", "last", "sink")] == ["", *TODO, ""]
    ends = [end for key in ("source", "stage", "last", "sink") for end in places[key][1]]
    for output, into in zip(ends[::2], ends[1::2], strict=True):
        coordinator.imc.imc_sendmsg(output, b"data")
        assert coordinator.imc.imc_recvmsg(into).data == b"data"
    close_all(ends)


def test_whoever_comes_first_all_get_the_ends_between_which_they_are(coordinator: Served) -> None:
    assert_all_can_join(coordinator)


@pytest.mark.parametrize(("kind", "body"), NO_PLACES, ids=repr)
def test_who_has_no_place_in_a_chain_is_out_and_takes_none(kind: str, body: object, coordinator: Served) -> None:
    with coordinator.connect() as connection, memory_of(coordinator.imc, b"") as memory:
        say(coordinator.imc, connection, kind, body, memory)
        with pytest.raises(EndOfStream):
            hear(coordinator.imc, connection)
    assert_all_can_join(coordinator)


def test_what_is_no_message_is_out(coordinator: Served) -> None:
    for data in (b"no IMC", b""):
        with coordinator.connect() as connection:
            send_packet(connection.socket, [data])
            with pytest.raises(EndOfStream):
                hear(coordinator.imc, connection)
    assert_all_can_join(coordinator)


def test_one_that_says_nothing_holds_up_nobody(coordinator: Served) -> None:
    with coordinator.connect():
        assert_all_can_join(coordinator)


def test_one_sink_too_many_is_out(coordinator: Served) -> None:
    _, ends = joined(coordinator, "sink")
    with pytest.raises(EndOfStream):
        joined(coordinator, "sink")
    close_all(ends)


def test_one_that_is_gone_before_its_turn_takes_no_place(link: Link) -> None:
    chain = Chain(link.imc, TODO)
    say(link.imc, link.client, "sink", "hasty")
    link.client.close()
    with pytest.raises(EndOfStream):
        chain.join(link.server)
    assert len(chain._free["sink"]) == 1
    chain.close()
