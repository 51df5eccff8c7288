"""Uses the processor without end, here a little past its limit."""

import time

from sandbox.worker import Worker
from tests.guests.guest import LIMITS, Guest, reported

GUEST = Guest(LIMITS, strict="SIGXCPU", strict_settings={"limits": {"cpu": "1s"}})


@reported
def main(_: Worker) -> None:
    """Spin."""
    while time.process_time() < 1.2:
        pass
