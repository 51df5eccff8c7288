"""Has a given socket listen, at whatever port."""

import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# Landlock refuses ports that are named, and this names none.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"}, company=("accomplice",))


@reported
def main(worker: Worker) -> None:
    """Listen, without a bind of its own."""
    _, (fd,) = company(worker, "accomplice", "tcp")
    with socket.socket(fileno=fd) as sock:
        sock.listen()
