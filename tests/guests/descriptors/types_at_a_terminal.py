"""Types at a terminal that it was started with, for the shell there to execute."""

import fcntl

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp: only root may at a terminal that is not its own, and where the kernel still has it.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "EPERM or EIO"},
    user={"control": "EPERM or EIO"},
    settings={"inherit": [{"descriptor": 6, "file": "{{tty}}", "mode": "rw"}]},
)

TIOCSTI = 0x5412  # asm-generic/ioctls.h


@reported
def main(_: Worker) -> None:
    """Have a character typed (TIOCSTI)."""
    fcntl.ioctl(6, TIOCSTI, b"x")
