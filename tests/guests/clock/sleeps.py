"""Lets all time pass, here a little more than it has."""

import time

from sandbox.worker import Worker
from tests.guests.guest import SUPERVISOR, Guest, reported

GUEST = Guest(SUPERVISOR, strict="SIGKILL", strict_settings={"limits": {"wall": "1s"}})


@reported
def main(_: Worker) -> None:
    """Sleep."""
    time.sleep(1.2)
