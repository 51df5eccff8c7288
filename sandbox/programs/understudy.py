"""The worker that the launcher is while it rehearses; a fork imports it in vain, to warm up."""

from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Wait for a step; there is none."""
    worker.next_step()
