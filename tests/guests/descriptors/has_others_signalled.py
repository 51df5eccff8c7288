"""Has the kernel signal a sibling when something arrives (F_SETOWN)."""

import fcntl
import socket

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# Without seccomp it may name anyone; whether there is a signal is asked when there would be.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"}, company=("victim",))


@reported
def main(worker: Worker) -> None:
    """Name the sibling as the owner of a pair."""
    facts, _ = company(worker, "victim")
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with left, right:
        fcntl.fcntl(left, fcntl.F_SETOWN, facts["pid"])
