"""Which layers work here: each is tried, in a child that ends at once, and has to take away what it is there to take.

That a call succeeds proves nothing: a kernel, or a machine within a machine, may accept it and go on as before.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from sandbox.confinement import capabilities, landlock, namespaces, seccomp
from sandbox.confinement.confine import (
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    becoming,
    dropping_capabilities,
    entering_user_namespace,
    may_narrow_capabilities,
    narrowing_capabilities,
    take,
)
from sandbox.confinement.kernel import LIBC, SYS_CAPGET, checked, prctl, unshare
from sandbox.confinement.policy import Layer

# linux/prctl.h
PR_GET_NO_NEW_PRIVS: Final = 39
# linux/ipc.h
IPC_PRIVATE: Final = 0
IPC_RMID: Final = 0
IPC_STAT: Final = 2
STATUS_BYTES: Final = 256
# linux/filter.h, linux/seccomp.h: one BPF instruction, which returns SECCOMP_RET_ALLOW.
ALLOW_ALL: Final = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF_0000)
# Before it: load the number of the call, and where it is that one, fail with an errno that it has no use for itself.
REFUSED_WITH: Final = errno.EXDEV
LOAD_NUMBER: Final = struct.pack("=HBBI", 0x20, 0, 0, 0)
IF_THAT_ONE: Final = struct.pack("=HBBI", 0x15, 0, 1, SYS_CAPGET)
FAIL: Final = struct.pack("=HBBI", 0x06, 0, 0, 0x0005_0000 | REFUSED_WITH)
REFUSE_ONE_CALL: Final = LOAD_NUMBER + IF_THAT_ONE + FAIL + ALLOW_ALL
# Any that is nobody's.
SOME_UID: Final = 1_999_999_999
SAID_MAX: Final = 1000
# The discard service, where nobody listens; nothing is sent.
SOME_PORT: Final = ("127.0.0.1", 9)
ANY_PORT: Final = ("127.0.0.1", 0)


def lacking(layers: Iterable[Layer]) -> dict[Layer, str]:
    """Return which of the layers do not work here, each with what the kernel says."""
    return {layer: said for layer in layers if (said := attempted(ATTEMPTS[layer])) is not None}


def attempted(attempt: Callable[[], object]) -> str | None:
    """Return what went wrong when a child made the attempt, None where nothing did."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        said = ""
        try:
            attempt()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent tells it
            said = str(error) or type(error).__name__
        os.write(writer, said.encode()[:SAID_MAX])
        os._exit(0)
    os.close(writer)
    said = os.read(reader, SAID_MAX).decode(errors="replace")
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        return said or f"whoever tried it ended with {os.waitstatus_to_exitcode(status)}"
    return said or None


def is_refused(attempt: Callable[[], object], *numbers: int) -> bool:
    """Say whether an attempt fails with one of these errnos."""
    try:
        attempt()
    except OSError as error:
        return error.errno in numbers
    return False


def _no_new_privs() -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if prctl(PR_GET_NO_NEW_PRIVS) != 1:
        raise OSError("the kernel does not keep it")


def _not_dumpable() -> None:
    # Who has fewer capabilities than another may not look into it in any case.
    take(dropping_capabilities())
    prctl(PR_SET_DUMPABLE, 0)
    # By our number there, for /proc may be that of another PID namespace.
    environment = f"/proc/{os.readlink('/proc/self')}/environ"
    if attempted(lambda: os.close(os.open(environment, os.O_RDONLY | os.O_CLOEXEC))) is None:
        raise OSError("another process of the same user can look into it")


def listening() -> str | None:
    """Return why nobody can hear here which calls a seccomp program refuses, None where somebody can."""

    def load() -> None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        seccomp.Program(ALLOW_ALL).load_listening()

    return attempted(load)


def _capabilities() -> None:
    if may_narrow_capabilities():
        take(narrowing_capabilities())
    take(dropping_capabilities())
    if capabilities.effective():
        raise OSError("some are left")


def _own_uid() -> None:
    ours = os.memfd_create("ours", os.MFD_CLOEXEC)
    os.fchmod(ours, 0o600)
    take(becoming(SOME_UID, os.getppid()))
    if (os.getresuid(), os.getresgid(), os.getgroups()) != ((SOME_UID,) * 3, (SOME_UID,) * 3, []):
        raise OSError("it is somebody else still")
    if not is_refused(lambda: os.open(f"/proc/self/fd/{ours}", os.O_RDONLY), errno.EACCES):
        raise OSError("it opens what is another's alone")


def _pid_namespace() -> None:
    # We are a child of the zygote.
    if os.getppid() != 1:
        raise OSError("the zygote could not be cloned into one")


def _leave(kind: str) -> None:
    """Leave our namespace of this kind for a new one, which may be changed then. Raises OSError."""
    before = os.readlink(f"/proc/self/ns/{kind}")
    unshare(namespaces.KINDS[kind])
    if os.readlink(f"/proc/self/ns/{kind}") == before:
        raise OSError("it is the same one as before")


def _ipc_namespace() -> None:
    segment = checked(int(LIBC.shmget(IPC_PRIVATE, 1, 0o600)))
    try:
        # It is there for as long as it is attached, and so ends with us.
        LIBC.shmat(segment, None, 0)
    finally:
        checked(int(LIBC.shmctl(segment, IPC_RMID, None)))
    status = ctypes.create_string_buffer(STATUS_BYTES)

    def ask() -> None:
        checked(int(LIBC.shmctl(segment, IPC_STAT, status)))

    ask()
    _leave("ipc")
    if not is_refused(ask, errno.EINVAL, errno.EIDRM):
        raise OSError("memory of others is in it")


def _uts_namespace() -> None:
    _leave("uts")
    namespaces.forget_host_name()
    if os.uname().nodename != namespaces.HOST_NAME.decode():
        raise OSError("the host's name is in it")


def _network_namespace() -> None:
    listener = _listener()
    _leave("net")
    if not is_refused(lambda: _connect(listener), errno.ECONNREFUSED):
        raise OSError("abstract names of others are in it")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if not is_refused(lambda: sock.connect(SOME_PORT), errno.ENETUNREACH):
            raise OSError("there is a way out of it")


def _listener() -> socket.socket:
    """Return a socket that listens at an abstract name, which the kernel has chosen. Raises OSError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("")
    listener.listen()
    return listener


def _connect(listener: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(listener.getsockname())


def _user_namespace() -> None:
    uid = os.getuid()
    take(entering_user_namespace(os.getppid()))
    # EINVAL: there is no such user, not even who we were.
    if not is_refused(lambda: os.setresuid(uid, uid, uid), errno.EINVAL):
        raise OSError("users of others are in it")


def _empty_root() -> None:
    _leave("mnt")
    namespaces.make_root(())
    if os.listdir("/"):
        raise OSError("it is not empty")


def _landlock() -> None:
    version = landlock.version()
    if version < landlock.VERSION_NEEDED:
        raise OSError(f"version {version}, where {landlock.VERSION_NEEDED} is needed")
    listener = _listener()
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict(landlock.make_ruleset((), (), (), abstract_names=False))
    if not is_refused(lambda: os.open("/", os.O_RDONLY), errno.EACCES):
        raise OSError("files can be opened")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        if not is_refused(lambda: sock.bind(ANY_PORT), errno.EACCES):
            raise OSError("TCP ports can be bound")
        if not is_refused(lambda: sock.connect(SOME_PORT), errno.EACCES):
            raise OSError("TCP ports can be connected to")
    # The name is one that was taken outside; we are in, and have to be held back from it.
    if not is_refused(lambda: _connect(listener), errno.EPERM):
        raise OSError("abstract names of others can be used")
    if not is_refused(lambda: os.kill(os.getppid(), 0), errno.EPERM):
        raise OSError("others can be signalled")


def _seccomp() -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    seccomp.Program(REFUSE_ONE_CALL).load()
    if not is_refused(capabilities.effective, REFUSED_WITH):
        raise OSError("a call that is refused can be made")


ATTEMPTS: Final[Mapping[Layer, Callable[[], object]]] = {
    Layer.NO_NEW_PRIVS: _no_new_privs,
    Layer.NOT_DUMPABLE: _not_dumpable,
    Layer.CAPABILITIES: _capabilities,
    Layer.OWN_UID: _own_uid,
    Layer.PID_NAMESPACE: _pid_namespace,
    Layer.IPC_NAMESPACE: _ipc_namespace,
    Layer.UTS_NAMESPACE: _uts_namespace,
    Layer.NETWORK_NAMESPACE: _network_namespace,
    Layer.USER_NAMESPACE: _user_namespace,
    Layer.EMPTY_ROOT: _empty_root,
    Layer.LANDLOCK: _landlock,
    Layer.SECCOMP: _seccomp,
}
