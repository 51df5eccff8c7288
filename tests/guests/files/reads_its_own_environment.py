"""Reads what the kernel shows of itself alone, beneath a /proc that an unconfined worker gave it."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# Behind Landlock: what is of a process that is not dumpable is root's, and no other's, not even its own. As root, to
# change one's uid makes undumpable by itself: see reads_a_siblings_memory.
GUEST = Guest(
    Layer.LANDLOCK,
    strict="EACCES",
    without={"landlock": "EACCES", "landlock not_dumpable": "EACCES"},
    user={"landlock not_dumpable": "success"},
    company=("accomplice",),
)


@reported
def main(worker: Worker) -> None:
    """Open it."""
    _, (fd,) = company(worker, "accomplice", "/proc")
    os.close(os.open("self/environ", os.O_RDONLY, dir_fd=fd))
