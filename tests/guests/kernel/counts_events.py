"""Counts what the processor does, which tells what others do."""

import os
import struct

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# Some kernels let no user do it.
GUEST = Guest(
    Layer.SECCOMP,
    strict="SIGSYS",
    control="success or EACCES or ENOENT",
    without={"seccomp": "success or EACCES or ENOENT"},
)

PERF_TYPE_SOFTWARE = 1  # linux/perf_event.h
EXCLUDE_KERNEL = 1 << 5 | 1 << 6


@reported
def main(_: Worker) -> None:
    """Count its own time."""
    attributes = struct.pack("IIQ24xQ16x", PERF_TYPE_SOFTWARE, 64, 0, EXCLUDE_KERNEL)
    os.close(call("perf_event_open", attributes, 0, -1, -1, 0))
