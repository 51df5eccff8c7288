"""Says as much as it can for as long as it likes, over several connections, and has it all said back."""

import threading

from sandbox.descriptors import ConnectedSocket
from sandbox.programs.hostile.means import attack
from sandbox.worker import Worker

CONNECTIONS = 4
MESSAGES = 300


def main(worker: Worker) -> None:
    """Say it from several threads at once."""
    with attack(worker) as victim:
        threads = [threading.Thread(target=flood, args=(worker, victim.connect())) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def flood(worker: Worker, connection: ConnectedSocket) -> None:
    """Say it, and hear it."""
    for number in range(MESSAGES):
        worker.imc.imc_sendmsg(connection, bytes(number % 7 * 1000))
        worker.imc.imc_recvmsg(connection)
