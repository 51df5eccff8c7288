"""Makes a call of 32-bit code, whose numbers mean other calls, from machine code in a sealed file."""

import ctypes
import mmap
import os

from sandbox.confinement.kernel import LIBC
from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Some kernels have no 32-bit calls.
# That it executes what it wrote is no escape: what can be executed is held like all else.
GUEST = Guest(
    Layer.SECCOMP,
    strict="SIGSYS",
    control="success or SIGSEGV",
    without={"seccomp": "success or SIGSEGV"},
    machine="x86_64",
)

# mov eax, 20; int 0x80; ret
GETPID = b"\xb8\x14\0\0\0\xcd\x80\xc3"


@reported
def main(_: Worker) -> None:
    """Ask for its process id by int 0x80."""
    fd = os.memfd_create("code")
    os.write(fd, GETPID)
    LIBC.mmap.restype = ctypes.c_void_p
    address = LIBC.mmap(None, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, fd, 0)
    assert ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid()
