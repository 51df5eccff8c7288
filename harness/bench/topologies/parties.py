"""What the measured workers do. They hold descriptors and no names, as all workers do."""

from sandbox.worker import Worker


def nothing(worker: Worker) -> None:
    """Return at once: the peers are started to do as little."""
