"""Whatever a peer sends, the receiver raises nothing but ImcError and keeps no descriptor of it."""

import select
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.abi import CONNECT
from sandbox.descriptors import BoundSocket, ConnectedSocket, DataOnlySocket
from sandbox.errors import MalformedMessage
from sandbox.imc import Imc
from sandbox.protocols import PROTOCOLS
from sandbox.wire import HEADER_WITHOUT_DESCRIPTORS, LAYOUTS
from tests.kernel import Background, OpenDescriptors, until
from tests.sandbox import strategies
from tests.sandbox.connections import make_imc
from tests.sandbox.raw import FD_KINDS, fds_of, send_connect_message, send_raw, seqpacket_pair

PROTOCOL_OF = {"2010": "stream", "2013": "socketpair", "recent": "socketpair"}

fd_kinds = st.lists(st.sampled_from(sorted(FD_KINDS)), max_size=10)
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


@every_layout
@pytest.mark.parametrize("kind", [ConnectedSocket, DataOnlySocket])
@settings(max_examples=60)
@given(data=st.data(), kinds=fd_kinds, size=st.integers(0, 100), max_descriptors=st.integers(0, 8))
def test_any_packet_is_a_message_or_an_imc_error(
    layout: str,
    kind: type[ConnectedSocket | DataOnlySocket],
    data: st.DataObject,
    kinds: list[str],
    size: int,
    max_descriptors: int,
) -> None:
    imc = Imc(PROTOCOL_OF[layout], layout)
    theirs, ours = seqpacket_pair()
    with theirs, kind(ours.detach()) as receiver, fds_of(*kinds) as fds:
        send_raw(theirs, data.draw(strategies.packets(layout)), fds)
        before = OpenDescriptors()
        try:
            message = imc.imc_recvmsg(receiver, size, max_descriptors)
        except MalformedMessage:
            assert before.only()
        else:
            assert len(message.data) <= size
            assert len(message.descriptors) <= max_descriptors
            assert before.only(*(descriptor for descriptor in message.descriptors if descriptor.fileno() >= 0))
            for descriptor in message.descriptors:
                descriptor.close()


@every_layout
@settings(max_examples=50)
@given(data=st.data())
def test_bad_messages_between_good_ones_cost_nothing(layout: str, data: st.DataObject) -> None:
    imc = Imc(PROTOCOL_OF[layout], layout)
    messages = data.draw(st.lists(st.tuples(strategies.packets(layout), fd_kinds), max_size=4))
    theirs, ours = seqpacket_pair()
    with theirs, ConnectedSocket(ours.detach()) as receiver:
        before = OpenDescriptors()
        for number, (packet, kinds) in enumerate(messages):
            with fds_of(*kinds) as fds:
                send_raw(theirs, packet, fds)
            send_raw(theirs, HEADER_WITHOUT_DESCRIPTORS + bytes([number]))
        for number in range(len(messages)):
            with suppress(MalformedMessage):
                for descriptor in imc.imc_recvmsg(receiver).descriptors:
                    descriptor.close()
            assert imc.imc_recvmsg(receiver) == (bytes([number]), (), 0)
        assert before.only()


def has_more(bound: BoundSocket) -> bool:
    return bool(select.select([bound], [], [], 0)[0])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=30)
@given(bad=st.lists(st.tuples(st.one_of(st.just(CONNECT), st.binary(max_size=3)), fd_kinds), min_size=1, max_size=4))
def test_the_good_connection_comes_after_any_connect_messages(
    protocol: str, bad: list[tuple[bytes, list[str]]]
) -> None:
    imc = make_imc(protocol)
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        before = OpenDescriptors()
        for data, kinds in bad:
            with fds_of(*kinds) as fds:
                send_connect_message(protocol, address, data, fds)
        connecting = Background(lambda: imc.imc_connect(address))
        until(lambda: connecting.done() or connecting.waits("poll"), "the good connect message is queued")
        accepted = []
        while has_more(bound):
            with suppress(MalformedMessage):
                accepted.append(imc.imc_accept(bound))
        client = connecting.result()
        assert before.only(client, *accepted)
        imc.imc_sendmsg(client, b"the good one")
        assert imc.imc_recvmsg(accepted[-1]).data == b"the good one"
        for connection in (client, *accepted):
            connection.close()
