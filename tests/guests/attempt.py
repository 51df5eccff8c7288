"""What attempts are made of: system calls by their names, and the company that a guest is in."""

import ctypes
import json
import os
import socket
from typing import Any, Final

from sandbox.worker import Worker

# By architecture: x86_64, and the generic table (asm-generic/unistd.h). Those that Python has no name for.
NUMBERS: Final = {
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "execveat": (322, 281),
    "inotify_init1": (294, 26),
    "io_uring_setup": (425, 425),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mlock": (149, 228),
    "mount": (165, 40),
    "mq_open": (240, 180),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "prlimit64": (302, 261),
    "process_vm_readv": (310, 270),
    "ptrace": (101, 117),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmget": (29, 194),
    "socketpair": (53, 199),
    "syslog": (103, 116),
    "tgkill": (234, 131),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
ARCHITECTURE: Final = ("x86_64", "aarch64").index(os.uname().machine)

# Not the confinement's own: a result may be an address, and so as wide as one.
LIBC: Final = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

ANSWER_BYTES: Final = 65536


def call(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a system call by its name, each number as wide as a register. Raises OSError."""
    return call_number(NUMBERS[name][ARCHITECTURE], *arguments)


def call_number(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a system call by its number. Raises OSError."""
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    wide += [ctypes.c_long(0)] * (6 - len(wide))
    result = int(LIBC.syscall(ctypes.c_long(number), *wide))
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def company(worker: Worker, name: str, want: str = "facts") -> tuple[dict[str, Any], list[int]]:
    """Ask a worker of `company.py`, and return what it tells and the descriptors that it gives, now the caller's."""
    connection = worker.imc.imc_connect(worker.imports[name])
    # Beside the rules of IMC, as two dishonest ones may: any descriptor can travel.
    sock = socket.socket(fileno=connection.take())
    sock.send(want.encode())
    told, fds, _, _ = socket.recv_fds(sock, ANSWER_BYTES, 8)
    return json.loads(told), fds
