"""Locks a file that others read: they would wait, or learn of it."""

import fcntl
import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Lock a module of the standard library."""
    with open(os.__file__, "rb") as module:
        fcntl.flock(module, fcntl.LOCK_SH)
