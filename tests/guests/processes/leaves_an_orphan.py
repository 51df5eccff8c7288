"""Leaves a grandchild behind, which is to outlive the run."""

import os
import signal

from sandbox.confinement.kernel import LIBC
from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Unconfined it gets one, which the kernel ends with the run's PID namespace; a test looks.
GUEST = Guest(Layer.SECCOMP, strict="EPERM")

ORPHAN = "imclab-orphan"
PR_SET_NAME = 15  # linux/prctl.h


@reported
def main(_: Worker) -> None:
    """Have a child that has one, and ends."""
    pid = os.fork()
    if not pid:
        if not os.fork():
            # By this name it is looked for once the run is over.
            LIBC.prctl(PR_SET_NAME, ORPHAN.encode(), 0, 0, 0)
            signal.pause()
        os._exit(0)
    os.waitpid(pid, 0)
