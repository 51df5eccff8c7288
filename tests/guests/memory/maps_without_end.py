"""Asks for more memory than it may have; nothing of it is touched."""

import mmap

from sandbox.worker import Worker
from tests.guests.guest import LIMITS, Guest, reported

# What can only be read is promised to anybody without the limit, for it is never more than one page of zeros.
GUEST = Guest(LIMITS, strict="ENOMEM")


@reported
def main(_: Worker) -> None:
    """Map a thousand gigabytes."""
    mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ).close()
