"""Opens a file by its number on the disk, past all directories."""

import os
import struct

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# It might, and the file system has looked, or has no handles. No user may.
GUEST = Guest(
    Layer.SECCOMP,
    strict="SIGSYS",
    control="ESTALE or EOPNOTSUPP or EINVAL",
    without={"seccomp": "EPERM"},
    user={"control": "EPERM"},
)

AT_FDCWD = -100  # fcntl.h


@reported
def main(_: Worker) -> None:
    """Open one that there is not."""
    handle = struct.pack("Ii8x", 8, 1)
    call("open_by_handle_at", AT_FDCWD, handle, os.O_RDONLY)
