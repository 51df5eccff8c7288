"""Looks for a process that is called python, and signals it."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Unconfined it finds the name and the number, which in the run's PID namespace is nobody's.
GUEST = Guest(Layer.EMPTY_ROOT, strict="ENOENT", control="ESRCH")


@reported
def main(worker: Worker) -> None:
    """Signal the supervisor if that is what it is called (signal 0)."""
    pid = worker.args["supervisor"]
    with open(f"/proc/{pid}/comm", encoding="utf-8") as name:
        assert "py" in name.read()
    os.kill(pid, 0)
