"""Capabilities: none is left, and none can come back."""

import ctypes
import errno
import struct
from typing import Final

from sandbox.confinement.kernel import SYS_CAPGET, SYS_CAPSET, SYS_PRCTL, Call, call_of, failure, make, syscall

# linux/capability.h, linux/prctl.h
CAPABILITY_VERSION_3: Final = 0x20080522
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
CAP_SETPCAP: Final = 8
CAP_SYS_RESOURCE: Final = 24

# What the kernel reads, at an address.
_OF_THIS_PROCESS: Final = ctypes.create_string_buffer(struct.pack("Ii", CAPABILITY_VERSION_3, 0))
_NO_CAPABILITIES: Final = ctypes.create_string_buffer(struct.pack("6I", *[0] * 6), 24)

# They give up every capability of the process.
DROPPING_ALL: Final = (
    call_of(SYS_PRCTL, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL),
    call_of(SYS_CAPSET, ctypes.addressof(_OF_THIS_PROCESS), ctypes.addressof(_NO_CAPABILITIES)),
)


def dropping_bounding_set() -> list[Call]:
    """Return the calls after which no program that is executed gains a capability: one for each that this kernel has.

    They need CAP_SETPCAP. Raises OSError.
    """
    calls = list[Call]()
    while make(*call_of(SYS_PRCTL, PR_CAPBSET_READ, len(calls))) >= 0:
        calls.append(call_of(SYS_PRCTL, PR_CAPBSET_DROP, len(calls)))
    # There is none of this number, nor of a higher one.
    if (error := failure()).errno != errno.EINVAL:
        raise error
    return calls


def effective() -> int:
    """Return the capabilities that this process may use now, a bit each. Raises OSError."""
    held = ctypes.create_string_buffer(len(_NO_CAPABILITIES))
    syscall(SYS_CAPGET, _OF_THIS_PROCESS, held)
    low, _, _, high, _, _ = struct.unpack("6I", held.raw)
    return int(low | high << 32)
