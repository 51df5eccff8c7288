"""Takes a lease of a file: whoever writes it has to wait for the guest."""

import fcntl
import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp it is not the guest's file; a user may whose it is.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "EACCES"}, user={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Take one of a module of the standard library."""
    with open(os.__file__, "rb") as module:
        fcntl.fcntl(module, fcntl.F_SETLEASE, fcntl.F_RDLCK)
