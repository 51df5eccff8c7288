"""Stops itself, so that it can be neither asked nor told anything."""

import os
import signal
import threading

from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import SUPERVISOR, Guest, reported

# That it may, confined or not; its time passes all the same, and then it is ended.
GUEST = Guest(SUPERVISOR, strict="SIGKILL", control="SIGKILL", settings={"limits": {"wall": "1s"}})


@reported
def main(_: Worker) -> str:
    """Have this thread stop all."""
    call("tgkill", os.getpid(), threading.get_native_id(), signal.SIGSTOP)
    return "went on"
