"""Reads the secret that a sibling holds, out of its memory."""

import ctypes
import struct

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call, company
from tests.guests.company import SECRET
from tests.guests.guest import Guest, reported

# Behind seccomp the kernel asks whether one may trace the other: not out of Landlock's domain, nor out of a user
# namespace, nor another's uid; and what is not dumpable, nobody but root. Some kernels let debuggers alone (Yama).
GUEST = Guest(
    Layer.SECCOMP,
    strict="SIGSYS",
    control="success or EPERM",
    without={
        "seccomp": "EPERM",
        "seccomp landlock user_namespace own_uid": "EPERM",
        "seccomp landlock user_namespace own_uid not_dumpable": "success or EPERM",
    },
    company=("victim",),
)


@reported
def main(worker: Worker) -> None:
    """Copy it by process_vm_readv(2)."""
    facts, _ = company(worker, "victim")
    copy = ctypes.create_string_buffer(len(SECRET))
    ours = struct.pack("QQ", ctypes.addressof(copy), len(SECRET))
    theirs = struct.pack("QQ", facts["secret_at"], len(SECRET))
    call("process_vm_readv", facts["pid"], ours, 1, theirs, 1, 0)
    assert copy.raw == SECRET
