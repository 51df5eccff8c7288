"""What of this kernel, and of our own choice, the answers depend on."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sandbox.abi import BACKLOG
from sandbox.confinement import landlock

Settings = Mapping[str, int]

OF_BACKLOG: Final = "backlog"
OF_DATAGRAMS: Final = "net.unix.max_dgram_qlen"
OF_LISTENERS: Final = "net.core.somaxconn"
OF_SENDERS: Final = "net.core.wmem_default"
OF_DESCRIPTORS: Final = "RLIMIT_NOFILE"
OF_LANDLOCK: Final = "Landlock ABI"


def settings() -> Settings:
    """Return the kernel's settings by name, its version of Landlock, and the backlog that listen() is given."""
    names = (OF_DATAGRAMS, OF_LISTENERS, OF_SENDERS)
    sysctls = {name: int(_sysctl(name).read_text(encoding="ascii")) for name in names}
    return {OF_BACKLOG: BACKLOG, **sysctls, OF_LANDLOCK: landlock.version()}


def kernel() -> str:
    """Return which kernel this is."""
    system = os.uname()
    return f"{system.sysname} {system.release} {system.machine}"


def _sysctl(name: str) -> Path:
    return Path("/proc/sys", *name.split("."))
