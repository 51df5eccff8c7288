"""The C library and the system calls that Python has no name for; each raises OSError."""

import ctypes
import os
import signal
from typing import Any, Final

# PyDLL: the GIL is held, as it must be around a fork; nothing here waits.
LIBC: Final = ctypes.PyDLL(None, use_errno=True)

# The generic table (asm-generic/unistd.h) has them at the same numbers on every architecture but where noted.
SYS_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
SYS_CAPSET: Final = {"x86_64": 126, "aarch64": 91}[os.uname().machine]
SYS_CAPGET: Final = {"x86_64": 125, "aarch64": 90}[os.uname().machine]
SYS_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
SYS_OPEN_TREE: Final = 428
SYS_MOVE_MOUNT: Final = 429
SYS_MOUNT_SETATTR: Final = 442
SYS_LANDLOCK_CREATE_RULESET: Final = 444
SYS_LANDLOCK_ADD_RULE: Final = 445
SYS_LANDLOCK_RESTRICT_SELF: Final = 446
# linux/prctl.h
PR_SET_PDEATHSIG: Final = 1


def syscall(number: int, *arguments: Any) -> int:
    """Make a system call and return its result. Raises OSError."""
    result = int(LIBC.syscall(ctypes.c_long(number), *arguments))
    return checked(result)


def checked(result: int) -> int:
    """Return the result of a call of the C library. Raises OSError where it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option: int, *arguments: int) -> int:
    """Change something about this process. Raises OSError."""
    padded = [*arguments, *[0] * (4 - len(arguments))]
    return checked(int(LIBC.prctl(option, *map(ctypes.c_ulong, padded))))


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends. Too late where it has ended: look afterwards."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def unshare(flags: int) -> None:
    """Leave namespaces for new ones. Raises OSError."""
    checked(int(LIBC.unshare(flags)))


def setns(fd: int, flags: int) -> None:
    """Enter the namespace that `fd` (borrowed) stands for. Raises OSError."""
    checked(int(LIBC.setns(fd, flags)))


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount, or change a mount. Raises OSError, which names the target."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    try:
        options = None if data is None else data.encode()
        checked(int(LIBC.mount(*encoded, ctypes.c_ulong(flags), options)))
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from None
