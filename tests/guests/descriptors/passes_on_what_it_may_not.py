"""Passes its control channel on to an accomplice, who is to speak in its name."""

import socket

from sandbox.abi import CONTROL_CHANNEL
from sandbox.worker import Worker
from tests.guests.guest import NOTHING, Guest, reported

# What is its own it may pass on, as it could pass on what others want said; the supervisor takes it for the guest's.
GUEST = Guest(NOTHING, strict="success", company=("accomplice",))


@reported
def main(worker: Worker) -> None:
    """Send it, in a message of the kernel's."""
    with socket.socket(fileno=worker.imc.imc_connect(worker.imports["accomplice"]).take()) as sock:
        socket.send_fds(sock, [b"uid"], [CONTROL_CHANNEL])
