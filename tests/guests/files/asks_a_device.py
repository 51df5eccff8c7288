"""Asks a device that it may read for more than to be read (ioctl)."""

import fcntl
import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import READER, Guest, reported

# Behind seccomp, Landlock refuses it. ENOTTY: the device was asked, and knows nothing of the kind.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    control="ENOTTY",
    without={"seccomp": "EACCES", "seccomp landlock": "ENOTTY"},
    strict_settings={"confinement": READER},
)

TIOCSTI = 0x5412  # asm-generic/ioctls.h


@reported
def main(_: Worker) -> None:
    """Ask what a terminal would understand."""
    fcntl.ioctl(os.open("/dev/zero", os.O_RDONLY), TIOCSTI, b"x")
