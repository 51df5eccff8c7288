"""The worker that the launcher is while it rehearses."""

from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Wait for a step; there is none."""
    worker.next_step()
