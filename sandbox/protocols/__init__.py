"""The four ways to make a connection. A fifth is one new file and one line here."""

from collections.abc import Mapping
from typing import Final

from sandbox.protocols.acknowledged import AcknowledgedProtocol
from sandbox.protocols.connect_message import take_connection
from sandbox.protocols.datagram import DatagramProtocol
from sandbox.protocols.interface import AddressForm, ConnectionProtocol, Options
from sandbox.protocols.socketpair import SocketpairProtocol
from sandbox.protocols.stream import StreamProtocol
from sandbox.protocols.tokens import abstract_name, address_of_token, choose_random_token, token_of_address

PROTOCOLS: Final[Mapping[str, type[ConnectionProtocol]]] = {
    protocol.name: protocol for protocol in (StreamProtocol, DatagramProtocol, SocketpairProtocol, AcknowledgedProtocol)
}

__all__ = [
    "PROTOCOLS",
    "AddressForm",
    "ConnectionProtocol",
    "Options",
    "abstract_name",
    "address_of_token",
    "choose_random_token",
    "take_connection",
    "token_of_address",
]
