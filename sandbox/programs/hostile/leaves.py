"""Leaves at each step of a connection: before it is sent, before it is accepted, halfway, with the answer unread."""

import os
import socket
from contextlib import suppress
from typing import Final

from sandbox.programs.hostile.means import attack, offer
from sandbox.transport import seqpacket_pair
from sandbox.worker import Worker

TIMES: Final = 10


def main(worker: Worker) -> None:
    """Leave in each way, again and again."""
    with attack(worker) as victim:
        for _ in range(TIMES):
            theirs, ours = seqpacket_pair()
            os.close(ours)
            victim.send(fds=[theirs])
            os.close(theirs)
            offer(victim).close()
            for half in (socket.SHUT_WR, socket.SHUT_RD, socket.SHUT_RDWR):
                with offer(victim) as connection, suppress(OSError):
                    worker.imc.imc_sendmsg(connection, b"something to answer")
                    connection.socket.shutdown(half)
            with victim.connect() as connection:
                worker.imc.imc_sendmsg(connection, b"an answer that is never read")
