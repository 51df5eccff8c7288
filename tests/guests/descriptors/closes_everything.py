"""Closes every descriptor, and goes on where nobody reaches it any more."""

import os
import signal

from sandbox.worker import Worker
from tests.guests.guest import SUPERVISOR, Guest, reported

# What is its own it may close, confined or not; to go on then is to break the rules of the control channel.
GUEST = Guest(SUPERVISOR, strict="offence", control="offence")


@reported
def main(_: Worker) -> None:
    """Close all, and wait for the end."""
    os.closerange(0, 1024)
    signal.pause()
