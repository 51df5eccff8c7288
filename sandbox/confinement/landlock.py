"""Landlock: what of the file system may be read and executed, and no TCP ports, abstract names or signals beyond."""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

from sandbox.confinement.kernel import (
    SYS_LANDLOCK_ADD_RULE,
    SYS_LANDLOCK_CREATE_RULESET,
    SYS_LANDLOCK_RESTRICT_SELF,
    Call,
    call_of,
    checked,
    make,
    syscall,
)

# linux/landlock.h
CREATE_RULESET_VERSION: Final = 1
RULE_PATH_BENEATH: Final = 1
ACCESS_FS_EXECUTE: Final = 1 << 0
ACCESS_FS_READ_FILE: Final = 1 << 2
ACCESS_FS_READ_DIR: Final = 1 << 3
ACCESS_NET: Final = 0b11  # bind and connect of TCP
SCOPE_ABSTRACT_UNIX_SOCKET: Final = 1 << 0
SCOPE_SIGNAL: Final = 1 << 1

# How many rights over files each version knows, from 1 on.
FILE_RIGHTS: Final = (13, 14, 15, 15, 16)
# The first version with both scopes; with the network's rights it is 4.
VERSION_NEEDED: Final = 6


def version() -> int:
    """Return the version of Landlock that this kernel has, 0 for none."""
    try:
        return syscall(SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), CREATE_RULESET_VERSION)
    except OSError:
        return 0


def make_ruleset(
    readable: Iterable[str], listable: Iterable[str], executable: Iterable[str], abstract_names: bool
) -> int:
    """Return a ruleset: to read what lies beneath these paths, to list these, to read and execute these; nothing else.

    `abstract_names`: sockets of others may be reached by those. The descriptor is the caller's. Raises OSError.
    """
    handled = (1 << FILE_RIGHTS[min(version(), len(FILE_RIGHTS)) - 1]) - 1
    scopes = SCOPE_SIGNAL | (0 if abstract_names else SCOPE_ABSTRACT_UNIX_SOCKET)
    attributes = struct.pack("QQQ", handled, ACCESS_NET, scopes)
    ruleset = syscall(SYS_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        for path in readable:
            _add(ruleset, path, ACCESS_FS_READ_FILE | ACCESS_FS_READ_DIR)
        for path in listable:
            _add(ruleset, path, ACCESS_FS_READ_DIR)
        for path in executable:
            _add(ruleset, path, ACCESS_FS_READ_FILE | ACCESS_FS_EXECUTE)
    except OSError:
        os.close(ruleset)
        raise
    return ruleset


def restricting(ruleset: int) -> Call:
    """Return the call that allows nothing of files but what the ruleset (borrowed) says; what is open stays usable.

    It needs no_new_privs, or CAP_SYS_ADMIN.
    """
    return call_of(SYS_LANDLOCK_RESTRICT_SELF, ruleset)


def restrict(ruleset: int) -> None:
    """Make that call. Raises OSError."""
    checked(make(*restricting(ruleset)))


def _add(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= ~ACCESS_FS_READ_DIR
        syscall(SYS_LANDLOCK_ADD_RULE, ruleset, RULE_PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)
    finally:
        os.close(fd)
