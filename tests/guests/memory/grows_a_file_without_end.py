"""Has a file grow past its limit, by a hole; files in memory are memory too."""

import os

from sandbox.worker import Worker
from tests.guests.guest import LIMITS, Guest, reported

GUEST = Guest(LIMITS, strict="EFBIG")


@reported
def main(_: Worker) -> None:
    """Have it as large as twice what the profile allows."""
    fd = os.memfd_create("large")
    os.ftruncate(fd, 2 << 30)
