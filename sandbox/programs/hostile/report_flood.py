"""Reports without end to the supervisor, which holds only so much: it is named, and ended."""

from sandbox.programs.hostile.means import attack
from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Report until it is ended."""
    with attack(worker):
        while True:
            worker.report("again", "x" * 1000)
