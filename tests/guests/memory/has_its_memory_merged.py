"""Has its memory merged with what is the same elsewhere: how long a write takes then tells what others hold."""

import mmap

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Not every kernel merges.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", control="success or EINVAL", without={"seccomp": "success or EINVAL"})

MADV_MERGEABLE = 12  # asm-generic/mman-common.h


@reported
def main(_: Worker) -> None:
    """Ask for it for one page."""
    with mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE) as page:
        page.madvise(MADV_MERGEABLE)
