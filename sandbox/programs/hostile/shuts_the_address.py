"""Shuts down what it was granted. With facets it is its own way that is closed; without, everybody's.

A name in a sealed memfd has nothing that could be shut down.
"""

import socket
from contextlib import suppress

from sandbox.programs.hostile.means import attack, lent
from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Shut it down, both ways."""
    with attack(worker) as victim, suppress(OSError), lent(victim.address.fileno()) as sock:
        sock.shutdown(socket.SHUT_RDWR)
