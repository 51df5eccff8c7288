"""A client that has an echo say back what it says, before, during and after the worst that another can do.

The hostile one is granted `start` once this one has done its first rounds, and grants `worst` when it has done its own.
"""

import threading
from typing import Final

from sandbox.descriptors import ConnectedSocket
from sandbox.worker import Worker

ROUNDS: Final = 10
LARGE: Final = bytes(100_000)


def main(worker: Worker) -> int:
    """Return 0 if every echo was right, over a connection that it keeps and over a new one each time."""
    assert worker.address is not None  # noqa: S101 - it has something to grant
    echo = worker.imports["victim"]
    with worker.imc.imc_connect(echo) as kept:

        def talk(number: int) -> None:
            require_echo(worker, kept, b"kept %d" % number)
            with worker.imc.imc_connect(echo) as fresh:
                require_echo(worker, fresh, b"fresh %d" % number)

        for number in range(ROUNDS):
            talk(number)
        worker.export("start", worker.address)
        worst = threading.Thread(target=worker.imports.__getitem__, args=("worst",), daemon=True)
        worst.start()
        meanwhile = 0
        while worst.is_alive():
            talk(meanwhile)
            meanwhile += 1
        for number in range(ROUNDS):
            talk(number)
        require_echo(worker, kept, LARGE)
    worker.report("rounds", [ROUNDS, meanwhile, ROUNDS])
    return 0


def require_echo(worker: Worker, connection: ConnectedSocket, data: bytes) -> None:
    """Raise ValueError for another answer, ImcError for none."""
    worker.imc.imc_sendmsg(connection, data)
    answer = worker.imc.imc_recvmsg(connection).data
    if answer != data:
        raise ValueError(f"{answer[:60]!r} for {data[:60]!r}")
