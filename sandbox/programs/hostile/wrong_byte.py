"""Sends a connection with a byte that no protocol has: it is refused, and the connection is closed."""

from sandbox.programs.hostile.means import attack, ends
from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Send it once."""
    with attack(worker) as victim, ends() as (theirs, _):
        victim.send(b"d", [theirs])
