"""Makes a ring (io_uring), over which calls are made that no filter sees."""

import ctypes
import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# As if the kernel had no such call, for libraries try it. Some kernels have it switched off.
GUEST = Guest(Layer.SECCOMP, strict="ENOSYS", control="success or EPERM or ENOSYS")


@reported
def main(_: Worker) -> None:
    """Make one of one entry."""
    os.close(call("io_uring_setup", 1, ctypes.create_string_buffer(120)))
