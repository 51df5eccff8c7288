"""The C library and the system calls that Python has no name for; each raises OSError.

What a fork does before it is a worker is told as calls, made ready by the zygote: each is seven numbers. To look up a
function by its name, or to call one of Python's, is to count references in as many objects, and for each page that has
one of them the kernel makes a copy, in each worker.
"""

import ctypes
import os
import signal
from collections.abc import Callable
from typing import Any, Final

# PyDLL: the GIL is held, as it must be around a fork; nothing here waits.
LIBC: Final = ctypes.PyDLL(None, use_errno=True)

# The generic table (asm-generic/unistd.h) has them at the same numbers on every architecture but where noted.
SYS_GETPPID: Final = {"x86_64": 110, "aarch64": 173}[os.uname().machine]
SYS_SETGROUPS: Final = {"x86_64": 116, "aarch64": 159}[os.uname().machine]
SYS_SETRESUID: Final = {"x86_64": 117, "aarch64": 147}[os.uname().machine]
SYS_SETRESGID: Final = {"x86_64": 119, "aarch64": 149}[os.uname().machine]
SYS_PRCTL: Final = {"x86_64": 157, "aarch64": 167}[os.uname().machine]
SYS_UNSHARE: Final = {"x86_64": 272, "aarch64": 97}[os.uname().machine]
SYS_SETNS: Final = {"x86_64": 308, "aarch64": 268}[os.uname().machine]
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

# The number of a system call, and its arguments: addresses are numbers, too.
Call = tuple[int, int, int, int, int, int, int]

# Another one than everybody's, since its types are its own: all are passed as they are.
_syscall = LIBC["syscall"]
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long,) * 7
make: Final[Callable[..., int]] = _syscall


def call_of(number: int, *arguments: int) -> Call:
    """Return a system call, to be made as `make(*call)`, which is below 0 where it fails: `failure` says why."""
    first, second, third, fourth, fifth, sixth = (*arguments, *[0] * (6 - len(arguments)))
    return number, first, second, third, fourth, fifth, sixth


def failure() -> OSError:
    """Return the error of the call that was made last."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def syscall(number: int, *arguments: Any) -> int:
    """Make a system call and return its result. Raises OSError."""
    result = int(LIBC.syscall(ctypes.c_long(number), *arguments))
    return checked(result)


def checked(result: int) -> int:
    """Return the result of a call of the C library. Raises OSError where it is negative."""
    if result < 0:
        raise failure()
    return result


def prctl(option: int, *arguments: int) -> int:
    """Change something about this process. Raises OSError."""
    padded = [*arguments, *[0] * (4 - len(arguments))]
    return checked(int(LIBC.prctl(option, *map(ctypes.c_ulong, padded))))


# Has the kernel kill this process when its parent ends. Too late where it has ended: look afterwards.
DIE_WITH_PARENT: Final = call_of(SYS_PRCTL, PR_SET_PDEATHSIG, int(signal.SIGKILL))


def die_with_parent() -> None:
    """Make that call. Raises OSError."""
    checked(make(*DIE_WITH_PARENT))


def unshare(flags: int) -> None:
    """Leave namespaces for new ones. Raises OSError."""
    checked(int(LIBC.unshare(flags)))


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount, or change a mount. Raises OSError, which names the target."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    try:
        options = None if data is None else data.encode()
        checked(int(LIBC.mount(*encoded, ctypes.c_ulong(flags), options)))
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from None
