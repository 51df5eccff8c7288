"""Sends a connection, and not the byte of a connect message.

It is refused where a byte is due; to the datagram protocol, which has none, it is a connection like any other.
"""

from sandbox.programs.hostile.means import attack, ends
from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Send it once."""
    with attack(worker) as victim, ends() as (theirs, _):
        victim.send(b"", [theirs])
