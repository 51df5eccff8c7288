"""Which layers work here: each is tried, in a child that ends at once."""

import os
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from sandbox.confinement import capabilities, landlock, namespaces, seccomp
from sandbox.confinement.confine import PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, become, give_up_capabilities
from sandbox.confinement.kernel import prctl, unshare
from sandbox.confinement.policy import Layer

# One BPF instruction, which returns SECCOMP_RET_ALLOW.
ALLOW_ALL: Final = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF_0000)
# Any that is nobody's.
SOME_UID: Final = 1_999_999_999
SAID_MAX: Final = 1000


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


def _pid_namespace() -> None:
    # We are a child of the zygote.
    if os.getppid() != 1:
        raise OSError("the zygote could not be cloned into one")


def _landlock() -> None:
    version = landlock.version()
    if version < landlock.VERSION_NEEDED:
        raise OSError(f"version {version}, where {landlock.VERSION_NEEDED} is needed")
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict(landlock.make_ruleset((), (), (), abstract_names=False))
    try:
        os.close(os.open("/", os.O_RDONLY))
    except PermissionError:
        return
    raise OSError("it restricts nothing")


def _seccomp() -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    seccomp.Program(ALLOW_ALL).load()


def _empty_root() -> None:
    unshare(namespaces.CLONE_NEWNS)
    namespaces.make_root(())
    if any(Path("/").iterdir()):
        raise OSError("it is not empty")


def _capabilities() -> None:
    give_up_capabilities()
    if capabilities.effective():
        raise OSError("some are left")


ATTEMPTS: Final[Mapping[Layer, Callable[[], object]]] = {
    Layer.NO_NEW_PRIVS: lambda: prctl(PR_SET_NO_NEW_PRIVS, 1),
    Layer.NOT_DUMPABLE: lambda: prctl(PR_SET_DUMPABLE, 0),
    Layer.CAPABILITIES: _capabilities,
    Layer.OWN_UID: lambda: become(SOME_UID),
    Layer.PID_NAMESPACE: _pid_namespace,
    Layer.IPC_NAMESPACE: lambda: unshare(namespaces.CLONE_NEWIPC),
    Layer.UTS_NAMESPACE: lambda: unshare(namespaces.CLONE_NEWUTS),
    Layer.NETWORK_NAMESPACE: lambda: unshare(namespaces.CLONE_NEWNET),
    Layer.USER_NAMESPACE: namespaces.enter_user_namespace,
    Layer.EMPTY_ROOT: _empty_root,
    Layer.LANDLOCK: _landlock,
    Layer.SECCOMP: _seccomp,
}
