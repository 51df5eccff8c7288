"""Sends descriptors into queues that nobody reads, until the kernel lets its user have no more of them in flight.

The kernel compares what all processes of a user have in flight with the sender's own limit of open files: whoever has a
higher one goes on, and who has the same cannot send a descriptor, nor connect, until this one ends.
"""

import errno
import os
from typing import Final

from sandbox.abi import KERNEL_DESCRIPTORS_MAX
from sandbox.programs.hostile.means import DONTWAIT, attack, ends, lent, send_raw
from sandbox.worker import Worker

PACKETS: Final = 300


def main(worker: Worker) -> None:
    """Fill its own queue, one descriptor a time in the end; take a packet back if args.spare, to be able to say so."""
    with ends() as (left, right), lent(left) as sock, attack(worker):
        for count in (KERNEL_DESCRIPTORS_MAX, 1):
            for _ in range(PACKETS):
                try:
                    send_raw(sock, b"x", [right] * count, DONTWAIT)
                except OSError as error:
                    worker.report("refused", errno.errorcode[error.errno or 0])
                    break
        if worker.args.get("spare"):
            # Received without room for what came along, which is closed thereby.
            os.read(right, 1)
