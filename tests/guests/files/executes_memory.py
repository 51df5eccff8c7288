"""Becomes a program that is in no file system."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# ENOEXEC: the kernel has looked at it, and it is no program, so that the guest is still there to tell.
# Landlock does not hold it: seccomp is all.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", control="ENOEXEC", without={"seccomp": "ENOEXEC"})

AT_EMPTY_PATH = 0x1000  # fcntl.h


@reported
def main(_: Worker) -> None:
    """Execute a sealed file by execveat(2)."""
    fd = os.memfd_create("program")
    os.write(fd, b"no program")
    call("execveat", fd, b"", None, None, AT_EMPTY_PATH)
