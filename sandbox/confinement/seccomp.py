"""Seccomp: a program that the kernel runs at each system call. It is compiled in the supervisor; here it is loaded."""

import ctypes
from typing import Final

from sandbox.confinement.kernel import SYS_SECCOMP, syscall

# linux/seccomp.h
SECCOMP_SET_MODE_FILTER: Final = 1
SECCOMP_FILTER_FLAG_TSYNC: Final = 1
INSTRUCTION_BYTES: Final = 8


class _Description(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


class Program:
    """BPF instructions of 8 bytes each, as the kernel takes them."""

    def __init__(self, program: bytes) -> None:
        self._instructions = ctypes.create_string_buffer(program, len(program))
        self._described = _Description(len(program) // INSTRUCTION_BYTES, ctypes.addressof(self._instructions))

    def load(self) -> None:
        """Have the kernel run them at each system call from now on. Raises OSError."""
        syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(self._described))
