"""Maps memory that can be written and executed."""

import mmap

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# What is no memory alone can be: see calls_as_another_architecture. Its calls are held like all others.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Map a page."""
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
