"""Seccomp: a program that the kernel runs at each system call. It is compiled in the supervisor; here it is loaded."""

import ctypes
from typing import Final

from sandbox.confinement.kernel import SYS_SECCOMP, syscall

# linux/seccomp.h
SECCOMP_SET_MODE_FILTER: Final = 1
SECCOMP_FILTER_FLAG_TSYNC: Final = 1
INSTRUCTION_BYTES: Final = 8


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def load(program: bytes) -> None:
    """Have the kernel run `program`, BPF instructions of 8 bytes each, from now on. Raises OSError."""
    instructions = ctypes.create_string_buffer(program, len(program))
    length = len(program) // INSTRUCTION_BYTES
    described = _Program(length, ctypes.addressof(instructions))
    syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(described))
