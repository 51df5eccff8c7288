"""Namespaces: a run's own network, IPC and host name, and a root with nothing in it but what workers may read.

Made once a run, by a child of the zygote that ends at once: descriptors of its namespaces keep them, and workers enter.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable, Mapping
from typing import Final

from sandbox.confinement.kernel import (
    LIBC,
    SYS_MOUNT_SETATTR,
    SYS_MOVE_MOUNT,
    SYS_OPEN_TREE,
    SYS_PIVOT_ROOT,
    SYS_SETNS,
    Call,
    call_of,
    checked,
    mount,
    syscall,
    unshare,
)
from sandbox.confinement.policy import Layer

# linux/sched.h
CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWUTS: Final = 0x0400_0000
CLONE_NEWIPC: Final = 0x0800_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000
# By the name that each has in /proc/PID/ns.
KINDS: Final[Mapping[str, int]] = {
    "net": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "mnt": CLONE_NEWNS,
}
LAYERS: Final[Mapping[str, Layer]] = {
    "net": Layer.NETWORK_NAMESPACE,
    "ipc": Layer.IPC_NAMESPACE,
    "uts": Layer.UTS_NAMESPACE,
    "mnt": Layer.EMPTY_ROOT,
}

# linux/mount.h
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2
MOUNT_ATTR_RDONLY: Final = 1
MOUNT_ATTR_NOSUID: Final = 2
MOUNT_ATTR_NODEV: Final = 4
# linux/fcntl.h
AT_FDCWD: Final = -100
AT_RECURSIVE: Final = 0x8000
# linux/mount.h
OPEN_TREE_CLONE: Final = 1
MOVE_MOUNT_F_EMPTY_PATH: Final = 4

HOST_NAME: Final = b"worker"
# Where the new root is put together: a directory that every system has, covered in this mount namespace alone.
BUILT_AT: Final = "/tmp"  # noqa: S108 - as above


def make(kinds: Iterable[str], shown: Iterable[str]) -> dict[str, int]:
    """Leave our namespaces of these kinds for new ones, and return a descriptor of each; to be done in a child.

    With mnt among them, the root has nothing in it but the paths `shown`, for reading. Raises OSError.
    """
    kinds = list(kinds)
    flags = 0
    for kind in kinds:
        flags |= KINDS[kind]
    unshare(flags)
    if "uts" in kinds:
        forget_host_name()
    fds = {kind: os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds}
    if "mnt" in kinds:
        make_root(shown)
    return fds


def forget_host_name() -> None:
    """Have a name that tells nothing of the host. Raises OSError."""
    checked(int(LIBC.sethostname(HOST_NAME, len(HOST_NAME))))


def make_root(shown: Iterable[str]) -> None:
    """Have a root with nothing in it but the paths `shown`, for reading. Raises OSError, which names the path."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    # Taken before the place where the root is built is covered, for they may lie in it, or it in them.
    taken = {path: tree(path) for path in outermost(set(shown))}
    mount("none", BUILT_AT, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    os.chdir(BUILT_AT)
    for path, fd in taken.items():
        try:
            show(f".{path}", fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        os.close(fd)
    syscall(SYS_PIVOT_ROOT, b".", b".")
    checked(int(LIBC.umount2(b".", MNT_DETACH)))
    os.chdir("/")
    mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def outermost(paths: set[str]) -> list[str]:
    """Return those of the paths that lie beneath no other, which is there with that.

    And what links lead to that do lie beneath another, for they will be links still. So whatever has to be made for a
    path to be shown at, it is made in folders of ours, where no link leads out of them.
    """
    paths = paths | {os.path.realpath(path) for path in paths if lies_beneath(path, paths)}
    return sorted(path for path in paths if not lies_beneath(path, paths))


def lies_beneath(path: str, paths: set[str]) -> bool:
    """Say whether a path lies beneath another one of these."""
    while (above := os.path.dirname(path)) != path:
        if above in paths:
            return True
        path = above
    return False


def tree(path: str) -> int:
    """Return a descriptor of what is at a path, with what is mounted beneath, to be mounted elsewhere. Raises OSError.

    Who is root in a user namespace alone may not leave out what others mounted.
    """
    flags = OPEN_TREE_CLONE | AT_RECURSIVE | os.O_CLOEXEC
    try:
        return syscall(SYS_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def show(target: str, fd: int) -> None:
    """Mount the tree that `fd` (borrowed) stands for at `target`, for reading. Raises OSError."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        os.makedirs(target, 0o755)
    else:
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_CLOEXEC, 0o644))
    at = os.fsencode(target)
    syscall(SYS_MOVE_MOUNT, fd, b"", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH)
    # Whoever names a device means it; one that lies in a folder is not meant.
    nodev = 0 if stat.S_ISCHR(mode) else MOUNT_ATTR_NODEV
    attributes = struct.pack("4Q", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | nodev, 0, 0, 0)
    syscall(SYS_MOUNT_SETATTR, AT_FDCWD, at, AT_RECURSIVE, attributes, ctypes.c_size_t(len(attributes)))


def entering(kind: str, fd: int) -> Call:
    """Return the call that enters the namespace of this kind that `fd` (borrowed) stands for."""
    return call_of(SYS_SETNS, fd, KINDS[kind])
