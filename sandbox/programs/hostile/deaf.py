"""Says much and reads nothing, until nobody can say anything to it any more: it holds up itself alone."""

from sandbox.abi import NONBLOCK
from sandbox.errors import ImcError
from sandbox.programs.hostile.means import attack
from sandbox.worker import Worker

CONNECTIONS = 8


def main(worker: Worker) -> None:
    """Have the victim wait in a send on each of the connections."""
    with attack(worker) as victim:
        said = 0
        for connection in [victim.connect() for _ in range(CONNECTIONS)]:
            try:
                while True:
                    worker.imc.imc_sendmsg(connection, bytes(50_000), flags=NONBLOCK)
                    said += 1
            except ImcError:
                "It is full."
            connection.take()
        worker.report("said", said)
