"""Leaves a grandchild behind, which is to outlive the run."""

import os
import signal

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import LIBC
from tests.guests.guest import Guest, reported

# Unconfined it gets one, which the kernel ends with the run's PID namespace: whoever runs the passes looks.
GUEST = Guest(Layer.SECCOMP, strict="EPERM")

PR_SET_NAME = 15  # linux/prctl.h


def orphan(name: str) -> str:
    """Return what the grandchild is called; all that the kernel keeps of a name is 15 characters."""
    return f"orphan-{name[-8:]}"


@reported
def main(worker: Worker) -> None:
    """Have a child that has one, and ends."""
    reader, writer = os.pipe()
    if not os.fork():
        if not os.fork():
            # By this name it is looked for once the run is over.
            LIBC.prctl(PR_SET_NAME, orphan(worker.args["name"]).encode(), 0, 0, 0)
            os.close(writer)
            signal.pause()
        os._exit(0)
    os.close(writer)
    os.read(reader, 1)
