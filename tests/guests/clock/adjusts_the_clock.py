"""Adjusts the clock of the host."""

import ctypes

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="SIGSYS", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Adjust nothing of it, which anybody may."""
    call("adjtimex", ctypes.create_string_buffer(256))
