"""Changes the flags and options of every socket that it shares with others: of its facet, and of its connections.

Whoever waits for something goes on waiting for it, and no descriptor comes along that nobody asked for.
"""

import fcntl
import os
import socket
from contextlib import suppress
from struct import pack

from sandbox.programs.hostile.means import SO_PASSPIDFD, attack, ends
from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Change them on what the victim has accepted, while it waits for a message there."""
    with attack(worker) as victim:
        for _ in range(8):
            with ends() as (theirs, ours):
                victim.send(fds=[theirs])
                spoil(theirs)
                os.write(ours, b"junk")
        with suppress(OSError):
            # Where it is a socket, and no name in a sealed memfd.
            spoil(victim.address.fileno())


def spoil(fd: int) -> None:
    """Set what a holder can set."""
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    with socket.socket(fileno=os.dup(fd)) as sock:
        for option, value in (
            (socket.SO_RCVTIMEO, pack("qq", 0, 1)),
            (socket.SO_SNDTIMEO, pack("qq", 0, 1)),
            (socket.SO_RCVBUF, 1),
            (socket.SO_SNDBUF, 1),
            (socket.SO_PASSCRED, 1),
            (SO_PASSPIDFD, 1),
        ):
            sock.setsockopt(socket.SOL_SOCKET, option, value)
