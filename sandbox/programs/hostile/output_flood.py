"""Writes without end to stdout and stderr, which the supervisor reads: it is named, and ended."""

import os

from sandbox.programs.hostile.means import attack
from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Write until it is ended."""
    with attack(worker):
        while True:
            os.write(1, bytes(65536))
            os.write(2, bytes(65536))
