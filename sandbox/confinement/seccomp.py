"""Seccomp: a program that the kernel runs at each system call. It is compiled in the supervisor; here it is loaded.

A program may leave what it refuses to whoever holds its listener: that one hears which call it was, and answers. It is
a descriptor, which whoever loads the program has once, and gives away before any line of a stranger's runs.
"""

import ctypes
import errno
from typing import Final

from sandbox.confinement.kernel import SYS_SECCOMP, syscall

# linux/seccomp.h
SECCOMP_SET_MODE_FILTER: Final = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER: Final = 1 << 3
INSTRUCTION_BYTES: Final = 8
NO_LISTENER: Final = -1


class _Description(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


class Program:
    """BPF instructions of 8 bytes each, as the kernel takes them."""

    def __init__(self, program: bytes) -> None:
        self._instructions = ctypes.create_string_buffer(program, len(program))
        self._described = _Description(len(program) // INSTRUCTION_BYTES, ctypes.addressof(self._instructions))

    def load(self) -> None:
        """Have the kernel run them at each system call of this thread from now on. Raises OSError."""
        self._load(0)

    def load_listening(self) -> int:
        """Do so, and return the descriptor of those who listen, owned by the caller. Raises OSError."""
        return self._load(SECCOMP_FILTER_FLAG_NEW_LISTENER)

    def _load(self, flags: int) -> int:
        return syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(self._described))


class Filter:
    """A program, and the same one with what it refuses left to a listener; b"" where there can be none."""

    def __init__(self, program: bytes, listened_to: bytes) -> None:
        self._program = Program(program)
        self._listened_to = Program(listened_to) if listened_to else None

    def load(self) -> int:
        """Load the second where the kernel lets us, else the first, and return the listener or NO_LISTENER.

        Raises OSError.
        """
        if self._listened_to is not None:
            try:
                return self._listened_to.load_listening()
            except OSError as error:
                # A kernel that has none; and one of them is all that a process may have, even where a container's is.
                if error.errno not in (errno.EINVAL, errno.EBUSY):
                    raise
        self._program.load()
        return NO_LISTENER
