"""Sends to a port of the host's from a UDP socket that an unconfined worker gave it."""

import socket

from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import NOTHING, Guest, reported

# A descriptor is what it is for: who gives one that leads to the network could as well pass data on by itself.
# That is why a topology that means it confines all of its workers.
GUEST = Guest(NOTHING, strict="success", company=("accomplice",))


@reported
def main(worker: Worker) -> None:
    """Send to it."""
    _, (fd,) = company(worker, "accomplice", "udp")
    with socket.socket(fileno=fd) as sock:
        sock.sendmsg([b"hello"], [], 0, ("127.0.0.1", worker.args["port"]))
