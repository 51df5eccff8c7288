"""Forks by the call that the C library does not use any more."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call_number
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"}, machine="x86_64")

FORK = 57  # asm/unistd_64.h


@reported
def main(_: Worker) -> None:
    """Have a child, which ends."""
    if not call_number(FORK):
        os._exit(0)
