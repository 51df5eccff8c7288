"""What a worker does between the fork and its program."""

import errno
import os

import pytest

from sandbox import start
from sandbox.descriptors import ConnectedSocket, Descriptor, SocketAddress
from sandbox.errors import ImcError
from sandbox.imc import Imc
from sandbox.transport import seqpacket_pair
from tests.kernel import OpenDescriptors


class Refusing:
    """Has the kernel refuse the first sends, for this reason."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int, number: int) -> None:
        self.left = times
        really = Imc.imc_sendmsg

        def send(imc: Imc, socket: ConnectedSocket, data: bytes, descriptors: tuple[Descriptor, ...]) -> int:
            if self.left:
                self.left -= 1
                raise ImcError(errno.EIO, "refused") from OSError(number, "refused")
            return really(imc, socket, data, descriptors)

        monkeypatch.setattr(Imc, "imc_sendmsg", send)


def exported(monkeypatch: pytest.MonkeyPatch) -> list[type[Descriptor]]:
    """Export an address over a channel, and return what arrives there."""
    ours, theirs = seqpacket_pair()
    address, other = seqpacket_pair()
    monkeypatch.setattr(start, "CONTROL_CHANNEL", ours)
    monkeypatch.setattr(start, "SERVICE_PORT_ADDRESS", address)
    with ConnectedSocket(theirs) as channel:
        try:
            start.export("socketpair", None)
            # Both are still there, for the program.
            os.fstat(ours)
            os.fstat(address)
            found = Imc("socketpair").imc_recvmsg(channel).descriptors
        finally:
            for fd in (ours, address, other):
                os.close(fd)
    kinds = [type(descriptor) for descriptor in found]
    for descriptor in found:
        descriptor.close()
    return kinds


def test_an_address_is_exported_once_others_of_the_user_have_less_in_flight(
    monkeypatch: pytest.MonkeyPatch, open_descriptors: OpenDescriptors
) -> None:
    refusing = Refusing(monkeypatch, 3, errno.ETOOMANYREFS)
    assert exported(monkeypatch) == [SocketAddress]
    assert refusing.left == 0
    assert open_descriptors.only()


def test_that_is_waited_for_no_longer_than_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "IN_FLIGHT_SECONDS", 0.1)
    refusing = Refusing(monkeypatch, 10**6, errno.ETOOMANYREFS)
    with pytest.raises(ImcError, match="refused"):
        exported(monkeypatch)
    assert 10**6 - refusing.left > 2


def test_for_another_reason_it_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refusing = Refusing(monkeypatch, 10, errno.ENOBUFS)
    with pytest.raises(ImcError, match="refused"):
        exported(monkeypatch)
    assert refusing.left == 9
