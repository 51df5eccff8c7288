"""Removes a module of the kernel."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# ENOENT: it might, and the kernel has looked; ENOSYS: it has no modules. No user may.
GUEST = Guest(
    Layer.SECCOMP,
    strict="SIGSYS",
    control="ENOENT or ENOSYS",
    without={"seccomp": "EPERM or ENOSYS"},
    user={"control": "EPERM or ENOSYS"},
)


@reported
def main(_: Worker) -> None:
    """Remove one that there is not."""
    call("delete_module", b"imclab", os.O_NONBLOCK)
