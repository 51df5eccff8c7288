"""Namespaces: a run's own network, IPC and host name, and a root with nothing in it but what workers may read.

Made once a run, by a child of the zygote that ends at once: descriptors of its namespaces keep them, and workers enter.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from sandbox.confinement.kernel import LIBC, SYS_PIVOT_ROOT, checked, mount, setns, syscall, unshare
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
# What a mount of somebody else's user namespace has may not be taken from it: these are asked for again.
KEPT_FLAGS: Final = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_NODIRATIME | os.ST_RELATIME

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
    """Have a root with nothing in it but the paths `shown`, for reading. Raises OSError."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    # Opened before the place where the root is built is covered, for they may lie in it.
    opened = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in sorted(set(shown))}
    mount("none", BUILT_AT, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for path, fd in opened.items():
        source, target = Path(f"/proc/self/fd/{fd}"), Path(BUILT_AT + path)
        if source.is_dir():
            target.mkdir(0o755, parents=True, exist_ok=True)
        else:
            target.parent.mkdir(0o755, parents=True, exist_ok=True)
            target.touch(0o644)
        mount(str(source), str(target), None, MS_BIND)
        kept = os.statvfs(target).f_flag & KEPT_FLAGS
        mount(None, str(target), None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | kept)
        os.close(fd)
    os.chdir(BUILT_AT)
    syscall(SYS_PIVOT_ROOT, b".", b".")
    checked(int(LIBC.umount2(b".", MNT_DETACH)))
    os.chdir("/")
    mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def enter(kind: str, fd: int) -> None:
    """Enter the namespace of this kind that `fd` (borrowed) stands for. Raises OSError."""
    setns(fd, KINDS[kind])


def enter_user_namespace() -> None:
    """Be nobody in a user namespace of our own: no id is mapped, so that none can be assumed. Raises OSError."""
    unshare(CLONE_NEWUSER)
