"""Has the kernel send signals when the supervisor says something (FIOASYNC)."""

import fcntl
import struct

from sandbox.abi import CONTROL_CHANNEL
from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})

FIOASYNC = 0x5452  # asm-generic/ioctls.h


@reported
def main(_: Worker) -> None:
    """Ask for them."""
    fcntl.ioctl(CONTROL_CHANNEL, FIOASYNC, struct.pack("i", 1))
