"""Has a process of its own send what has to be refused: it is told, and nobody is named who need not be guilty."""

import os

from sandbox.programs.hostile.means import attack
from sandbox.worker import Worker

MESSAGES = 100


def main(worker: Worker) -> None:
    """Fork, send, wait."""
    with attack(worker) as victim:
        child = os.fork()
        if not child:
            for _ in range(MESSAGES):
                victim.send(b"junk")
            os._exit(0)
        os.waitpid(child, 0)
