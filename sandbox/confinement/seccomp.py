"""Seccomp: a program that the kernel runs at each system call. It is compiled in the supervisor; here it is loaded.

A program may leave what it refuses to whoever holds its listener: that one hears which call it was, and answers. It is
a descriptor, which whoever loads the program has once, and gives away before any line of a stranger's runs.
"""

import ctypes
import errno
from typing import Final

from sandbox.confinement.kernel import SYS_SECCOMP, call_of, checked, failure, make

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
        place = ctypes.addressof(self._described)
        # Has the kernel run them at each system call of the thread from then on.
        self.loading = call_of(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, 0, place)
        # Does so, and returns the descriptor of those who listen.
        self.loading_listening = call_of(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, place)

    def load(self) -> None:
        """Make the first call. Raises OSError."""
        checked(make(*self.loading))

    def load_listening(self) -> int:
        """Make the second, and return the descriptor, owned by the caller. Raises OSError."""
        return checked(make(*self.loading_listening))


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
            if (listener := make(*self._listened_to.loading_listening)) >= 0:
                return listener
            # A kernel that has none; and one of them is all that a process may have, even where a container's is.
            if (error := failure()).errno not in (errno.EINVAL, errno.EBUSY):
                raise error
        if make(*self._program.loading) < 0:
            raise failure()
        return NO_LISTENER
