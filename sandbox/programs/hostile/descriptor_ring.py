"""Sends connections that carry each other, and themselves, in their queues: whoever closes them closes the ring."""

import socket

from sandbox.programs.hostile.means import attack, ends, lent
from sandbox.worker import Worker

RINGS = 20


def main(worker: Worker) -> None:
    """Have each end of two pairs lie in the queue of the other, and offer one of them."""
    with attack(worker) as victim:
        for _ in range(RINGS):
            with ends() as (one, two), ends() as (three, four), lent(two) as into_one, lent(four) as into_three:
                socket.send_fds(into_one, [b"x"], [one, three])
                socket.send_fds(into_three, [b"x"], [three, one])
                victim.send(fds=[one])
