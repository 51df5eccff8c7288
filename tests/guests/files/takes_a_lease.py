"""Takes a lease of a file: whoever writes it has to wait for the guest."""

import fcntl

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# Behind seccomp is, as root, a uid of its own: others' files it may not. A user may whose it is.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "EACCES", "seccomp own_uid": "success"},
    user={"seccomp": "success"},
    company=("accomplice",),
)


@reported
def main(worker: Worker) -> None:
    """Take one of a file that an unconfined worker gave it."""
    _, (fd,) = company(worker, "accomplice", worker.args["scratch"] + "/file")
    with open(fd, "rb") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
