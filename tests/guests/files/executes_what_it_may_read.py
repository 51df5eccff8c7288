"""Becomes a program that it may read."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import READER, Guest, reported

# Behind seccomp, Landlock has nothing executed but what is to be.
# ENOEXEC: the kernel has looked at it, and it is no program, so that the guest is still there to tell.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    control="ENOEXEC",
    without={"seccomp": "EACCES", "seccomp landlock": "ENOEXEC"},
    strict_settings={"confinement": READER},
)


@reported
def main(worker: Worker) -> None:
    """Execute it."""
    os.execve(worker.args["readable"] + "/program", ["program"], {})  # noqa: S606
