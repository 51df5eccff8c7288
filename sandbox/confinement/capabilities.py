"""Capabilities: none is left, and none can come back."""

import ctypes
import errno
import os
import struct
from typing import Final

from sandbox.confinement.kernel import LIBC, SYS_CAPGET, SYS_CAPSET, prctl, syscall

# linux/capability.h, linux/prctl.h
CAPABILITY_VERSION_3: Final = 0x20080522
PR_CAPBSET_DROP: Final = 24
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
CAP_SETPCAP: Final = 8
CAP_SYS_RESOURCE: Final = 24

_NO_CAPABILITIES: Final = struct.pack("6I", *[0] * 6)
_OF_THIS_PROCESS: Final = struct.pack("Ii", CAPABILITY_VERSION_3, 0)


def drop_bounding_set() -> None:
    """Have no program that is executed from here on gain a capability. Raises OSError."""
    capability = 0
    while LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    # There is none of this number, nor of a higher one.
    if ctypes.get_errno() != errno.EINVAL:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def drop_all() -> None:
    """Give up every capability of this process. Raises OSError."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    syscall(SYS_CAPSET, _OF_THIS_PROCESS, _NO_CAPABILITIES)


def effective() -> int:
    """Return the capabilities that this process may use now, a bit each. Raises OSError."""
    held = ctypes.create_string_buffer(len(_NO_CAPABILITIES))
    syscall(SYS_CAPGET, _OF_THIS_PROCESS, held)
    low, _, _, high, _, _ = struct.unpack("6I", held.raw)
    return int(low | high << 32)
