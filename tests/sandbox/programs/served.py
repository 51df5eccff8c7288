"""A server in threads of this process, and how to be its client."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.descriptors import ConnectedSocket, SocketAddress
from sandbox.imc import Imc
from sandbox.programs.server import CONNECTIONS_MAX, accept_all


class Served:
    """What a client needs: the calls, and the address."""

    def __init__(self, imc: Imc, address: SocketAddress) -> None:
        self.imc = imc
        self.address = address

    def connect(self) -> ConnectedSocket:
        return self.imc.imc_connect(self.address)


@contextmanager
def served(
    imc: Imc, serve: Callable[[ConnectedSocket], None], connections_max: int = CONNECTIONS_MAX
) -> Iterator[Served]:
    """Serve until the end of the block, by when all clients have to be gone."""
    slots = threading.BoundedSemaphore(connections_max)
    with in_background(imc, lambda bound: accept_all(imc, bound, serve, slots)) as server:
        yield server
    for _ in range(connections_max):
        assert slots.acquire(timeout=10), "a connection is still being served"


@contextmanager
def in_background(imc: Imc, *accepting: Callable[[Any], object]) -> Iterator[Served]:
    """Call each of `accepting` with a BoundSocket, in a thread of its own, which has to end with the address."""
    bound, address = imc.imc_makeboundsock()
    threads = [threading.Thread(target=call, args=(bound,), daemon=True) for call in accepting]
    with bound:
        for thread in threads:
            thread.start()
        with address:
            yield Served(imc, address)
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
