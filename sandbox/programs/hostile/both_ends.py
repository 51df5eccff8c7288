"""Sends both ends of one pair as connections, and sets a message going round: an echo talks to itself.

Nothing tells the two from others. It costs the victim a thread that never rests, and the others go on.
"""

import os

from sandbox.programs.hostile.means import attack, ends
from sandbox.wire import HEADER_WITHOUT_DESCRIPTORS
from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Send them one after the other; of each connect message one is taken."""
    with attack(worker) as victim, ends() as (left, right):
        victim.send(fds=[left])
        victim.send(fds=[right])
        os.write(left, HEADER_WITHOUT_DESCRIPTORS + b"round and round")
