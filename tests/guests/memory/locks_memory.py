"""Locks memory, so that others have to make room."""

import ctypes

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# Behind seccomp is its limit, which is none at all.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "EPERM"})


@reported
def main(_: Worker) -> None:
    """Lock a page."""
    call("mlock", ctypes.create_string_buffer(4096), 4096)
