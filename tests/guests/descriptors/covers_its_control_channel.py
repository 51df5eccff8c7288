"""Puts something else where its control channel is, and goes on."""

import os
import signal

from sandbox.abi import CONTROL_CHANNEL
from sandbox.worker import Worker
from tests.guests.guest import SUPERVISOR, Guest, reported

# What is its own it may close, confined or not; to go on then is to break the rules of the control channel.
GUEST = Guest(SUPERVISOR, strict="offence", control="offence")


@reported
def main(_: Worker) -> None:
    """Have /dev/null there, and wait for the end."""
    os.dup2(0, CONTROL_CHANNEL)
    signal.pause()
