"""The script of somebody who uses multiprocessing: its children import it, for what they are to do is in it."""


def nothing() -> None:
    """Return at once."""
