"""What a connection costs where an address is one end of a pair: all in one process, beside a listening socket's."""

import secrets
import socket
import time
from typing import Final

from harness.bench.lines import Bound, Compared, Line, Reach
from harness.bench.rounds import taking_turns
from harness.bench.runs import on_one_core
from sandbox.imc import Imc

FIGURE: Final = "connect"
WHAT: Final = "connect, accept, close"
PEER: Final = "raw AF_UNIX stream"
ROUNDS: Final = 7
TURNS: Final = 5
CONNECTIONS: Final = 1000


async def measure() -> list[Line]:
    """Make connections in turn."""
    imc = Imc("socketpair")
    bound, address = imc.imc_makeboundsock()
    name = f"\0imclab-bench-{secrets.token_hex(8)}"

    def ours() -> float:
        connect, accept = imc.imc_connect, imc.imc_accept
        began = time.perf_counter()
        for _ in range(CONNECTIONS):
            client = connect(address)
            server = accept(bound)
            client.close()
            server.close()
        return rate_since(began)

    def theirs() -> float:
        family, kind, make, accept = socket.AF_UNIX, socket.SOCK_STREAM, socket.socket, listener.accept
        began = time.perf_counter()
        for _ in range(CONNECTIONS):
            client = make(family, kind)
            client.connect(name)
            server, _ = accept()
            client.close()
            server.close()
        return rate_since(began)

    with bound, address, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, on_one_core():
        listener.bind(name)
        listener.listen()
        taken = await taking_turns({WHAT: ours, PEER: theirs}, ROUNDS, TURNS)
    return [Compared(FIGURE, WHAT, PEER, "k/s", taken[WHAT], taken[PEER], Reach(Bound.AT_LEAST, 0.75))]


def rate_since(began: float) -> float:
    """Return how many thousand connections a second that makes."""
    return CONNECTIONS / (time.perf_counter() - began) / 1000
