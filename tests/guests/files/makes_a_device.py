"""Makes a device file, through which it would get at the memory or a disk."""

import os
import stat

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# No user may make one, confined or not.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "ENOENT", "seccomp empty_root own_uid": "EACCES"},
    user={"control": "EPERM"},
)


@reported
def main(worker: Worker) -> None:
    """Make one of /dev/null."""
    os.mknod(worker.args["scratch"] + "/device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
