"""Sets the clock of the host."""

import time

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# EINVAL: the kernel has looked; this clock nobody sets, so that nothing happens here.
GUEST = Guest(Layer.SECCOMP, strict="SIGSYS", control="EINVAL", without={"seccomp": "EINVAL"})


@reported
def main(_: Worker) -> None:
    """Set it to a time that cannot be."""
    time.clock_settime_ns(time.CLOCK_MONOTONIC, 0)
