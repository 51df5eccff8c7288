"""Forks and forks (a fork bomb), here to a hundred."""

import os
import signal

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp is the limit on processes: see forks_from_c.
GUEST = Guest(Layer.SECCOMP, strict="EPERM")

ENOUGH = 100


@reported
def main(_: Worker) -> None:
    """Have children that wait, until there are enough or no more can be had; then end them."""
    children = list[int]()
    try:
        while len(children) < ENOUGH:
            pid = os.fork()
            if not pid:
                signal.pause()
            children.append(pid)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
