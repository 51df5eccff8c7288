"""Sends the byte of a connect message, and no connection.

It is refused, where a connect message is due; over stream it is a malformed message on a connection that is good.
"""

from sandbox.abi import CONNECT
from sandbox.programs.hostile.means import attack
from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Send it once: a mistake is no offence yet."""
    with attack(worker) as victim:
        victim.send(CONNECT)
