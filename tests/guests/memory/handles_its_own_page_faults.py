"""Handles its own page faults, so that the kernel waits for it in the middle of what it does."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="SIGSYS", without={"seccomp": "success"})

UFFD_USER_MODE_ONLY = 1  # linux/userfaultfd.h


@reported
def main(_: Worker) -> None:
    """Ask for a descriptor of them."""
    os.close(call("userfaultfd", UFFD_USER_MODE_ONLY))
