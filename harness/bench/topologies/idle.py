"""A worker that waits to be told something, and never is."""

from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Wait for a step, or the end."""
    worker.next_step()
