"""A worker that is only started."""

from sandbox.worker import Worker


def nothing(worker: Worker) -> None:
    """Return at once: the peers are started to do as little."""
