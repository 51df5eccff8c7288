"""Tries every number beyond those that it was granted."""

import errno
import os

from sandbox.abi import FIRST_IMPORT
from sandbox.worker import Worker
from tests.guests.guest import TABLE, Guest, reported

# Whatever the profile, nothing but what the topology lists is ever open in a worker; here it lists one for the control.
GUEST = Guest(
    TABLE, strict="EBADF", control_settings={"inherit": [{"descriptor": 999, "file": "/dev/null", "mode": "r"}]}
)


@reported
def main(_: Worker) -> str:
    """Look for a descriptor at each."""
    for number in range(FIRST_IMPORT, 4096):
        try:
            os.fstat(number)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
        else:
            return "success"
    raise OSError(errno.EBADF, "none")
