"""Making connections over any protocol, in one process."""

import errno
from collections.abc import Callable
from typing import Any, NamedTuple

from sandbox.descriptors import BoundSocket, ConnectedSocket, SocketAddress
from sandbox.imc import Imc
from tests.kernel import Background


class Link(NamedTuple):
    """The two ends of a connection, and the calls to use them with."""

    imc: Imc
    client: ConnectedSocket
    server: ConnectedSocket


def service_port() -> BoundSocket:
    """Return what the datagram protocol connects from, and no other asks for."""
    return Imc("datagram").imc_makeboundsock()[0]


def make_imc(protocol: str, **options: Any) -> Imc:
    """Return an Imc that can connect, and that owns the service port that it may need."""
    return Imc(protocol, global_fd=service_port(), **options)


def connect_and_accept(imc: Imc, bound: BoundSocket, address: SocketAddress) -> Link:
    """Connect in one thread and accept in another, for the acknowledged protocol's connect waits."""
    connecting = Background(lambda: imc.imc_connect(address))
    server = imc.imc_accept(bound)
    return Link(imc, connecting.result(), server)


def make_link(imc: Imc) -> Link:
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        return connect_and_accept(imc, bound, address)


def fill(send: Callable[[], object]) -> int:
    """Send without waiting until the queue is full, and return how often that went well."""
    sent = 0
    while True:
        try:
            send()
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
            return sent
        sent += 1
