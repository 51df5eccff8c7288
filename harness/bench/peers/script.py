"""The script of somebody who uses multiprocessing: its children import it, for what they are to do is in it."""

from multiprocessing.connection import Connection


def nothing() -> None:
    """Return at once."""


def idle(parent: Connection) -> None:
    """Say that we are up, and wait to be told something."""
    parent.send_bytes(b"up")
    parent.recv_bytes()
