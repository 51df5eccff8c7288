"""Sends connect messages that have to be refused, without end: it is named, and ended.

Where no supervisor stands between, the victim refuses each of them, and goes on.
"""

from sandbox.programs.hostile.means import attack
from sandbox.worker import Worker

MESSAGES = 500


def main(worker: Worker) -> None:
    """Send them as fast as they are taken."""
    with attack(worker) as victim:
        for _ in range(MESSAGES):
            victim.send(b"junk")
