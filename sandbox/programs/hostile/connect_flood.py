"""Connects until the kernel or the victim's queue refuses, and keeps all of it: others connect all the same.

An ordinary user's descriptors in flight are counted together, so that this user's others may fail; of root's are not.
"""

import errno
import os

from sandbox.programs.hostile.means import DONTWAIT, attack, ends
from sandbox.worker import Worker

CONNECTIONS = 600


def main(worker: Worker) -> None:
    """Send connect messages as fast as they are taken."""
    with attack(worker) as victim:
        kept = []
        for _ in range(CONNECTIONS):
            with ends() as (theirs, ours):
                try:
                    victim.send(fds=[theirs], flags=DONTWAIT)
                except OSError as error:
                    worker.report("refused", errno.errorcode[error.errno or 0])
                    continue
                kept.append(os.dup(ours))
        worker.report("connections", len(kept))
