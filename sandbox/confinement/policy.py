"""What a profile takes away from a worker, and what it leaves: data, which the other files here put into effect.

    none          nothing is taken away
    descriptors   its descriptors, a clean environment, limits; no new privileges; it dies with the supervisor
    strict        every layer that the kernel has, and an allow list of system calls: IMC over pairs of sockets works
    names         strict, but for what the stream and datagram protocols need: the network namespace in which their
                  names are, Landlock's leave to use them, and the calls that make and use names

A layer that is missing is an error that names it, unless the profile says that it may be missing.
"""

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class Layer(Enum):
    """One means of the kernel to hold a worker."""

    NO_NEW_PRIVS = "no_new_privs"
    NOT_DUMPABLE = "not_dumpable"
    CAPABILITIES = "capabilities"
    OWN_UID = "own_uid"
    PID_NAMESPACE = "pid_namespace"
    IPC_NAMESPACE = "ipc_namespace"
    UTS_NAMESPACE = "uts_namespace"
    NETWORK_NAMESPACE = "network_namespace"
    USER_NAMESPACE = "user_namespace"
    EMPTY_ROOT = "empty_root"
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"


def in_their_order(layers: Iterable[Layer]) -> list[Layer]:
    """Return layers in the order of `Layer`, as all are told."""
    return sorted(layers, key=list(Layer).index)


class Action(Enum):
    """What becomes of a system call."""

    ALLOW = "allow"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Condition:
    """An argument, or what `mask` leaves of it, has to equal `value`."""

    argument: int
    value: int
    mask: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of one call where all conditions hold: an action, or failing with this errno."""

    call: str
    action: Action | int
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """A profile: its layers, those that may be missing, the rules of its seccomp program, and paths that may be read.

    Calls without a rule fail with EPERM. `limits` are those of a worker that says no others,
    `late_limits` those that it gets once it is in a user namespace of its own. `refuses`: a protocol that needs what is
    taken away is refused before anything starts; else it is tried. A topology's own profile has the name of the one
    here that it is made of as `base`, and the calls that it allows beside as `allowed`.
    """

    name: str
    base: str = ""
    allowed: tuple[str, ...] = ()
    layers: frozenset[Layer] = frozenset()
    allow_missing: frozenset[Layer] = frozenset()
    rules: tuple[Rule, ...] = ()
    readable: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    late_limits: Mapping[str, int] = field(default_factory=dict)
    abstract_names: bool = True
    refuses: bool = True

    def denies(self, call: str) -> bool:
        """Say whether there is no way to make this call."""
        return Layer.SECCOMP in self.layers and not any(
            rule.call == call and rule.action is Action.ALLOW for rule in self.rules
        )


def allow(*calls: str) -> tuple[Rule, ...]:
    """Return a rule that allows each call, whatever its arguments."""
    return tuple(Rule(call, Action.ALLOW) for call in calls)


def allow_if(call: str, *conditions: Condition) -> Rule:
    """Return a rule that allows a call where the conditions hold."""
    return Rule(call, Action.ALLOW, conditions)


def each(call: str, argument: int, values: tuple[int, ...]) -> tuple[Rule, ...]:
    """Return rules that allow a call where one argument has one of these values."""
    return tuple(allow_if(call, Condition(argument, value)) for value in values)


# What a Python worker calls once it runs, seen with strace; each can touch only what the worker holds already.
PLAIN: Final = allow(
    *("read", "write", "readv", "writev", "pread64", "pwrite64", "close", "lseek", "dup", "dup2", "dup3", "pipe2"),
    *("ftruncate", "sendmsg", "recvmsg", "recvfrom", "shutdown", "getsockname", "getpeername", "poll", "ppoll"),
    *("select", "pselect6", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "eventfd2", "munmap"),
    *("mremap", "brk", "msync", "futex", "set_robust_list", "get_robust_list", "rseq", "gettid", "getpid"),
    *("getppid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getpgrp"),
    *("set_tid_address", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait", "rt_sigpending"),
    *("sigaltstack", "nanosleep", "gettimeofday", "time", "restart_syscall", "sched_yield", "times", "getrusage"),
    *("getrandom", "memfd_create", "uname", "sysinfo", "fstat", "pause", "alarm", "setitimer", "getitimer"),
    *("exit", "exit_group", "mincore", "membarrier", "fsync", "fdatasync", "fadvise64"),
)

AF_UNIX: Final = 1
SOCK_STREAM: Final = 1
SOCK_DGRAM: Final = 2
SOCK_SEQPACKET: Final = 5
SOCK_TYPE_MASK: Final = 0xF  # without SOCK_CLOEXEC and SOCK_NONBLOCK
SOL_SOCKET: Final = 1
# What pthread_create asks for; the bit that is left out is CLONE_DETACHED, which means nothing any more.
THREAD_FLAGS: Final = 0x3D0F00
THREAD_FLAGS_MASK: Final = 0xFFFFFFFF & ~0x400000
PROT_WRITE: Final = 2
PROT_EXEC: Final = 4
MAP_ANONYMOUS: Final = 0x20
AT_EMPTY_PATH: Final = 0x1000
# openat(2): for reading alone; none of O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_PATH, O_TMPFILE.
OPEN_MASK: Final = 0o3 | 0o100 | 0o1000 | 0o2000 | 0o10000000 | 0o20000000
# The clock of a process or a thread has a number below zero, made of theirs; the clocks of all, and those of whoever
# asks, do not. It is an int: the upper half of the register means nothing.
OTHERS_CLOCK: Final = 0x8000_0000
# ioctl(2): FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. TCGETS is what isatty() asks.
IOCTLS: Final = (0x541B, 0x5421, 0x5450, 0x5451)
TCGETS: Final = 0x5401
# fcntl(2): F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_SETPIPE_SZ to F_GET_SEALS.
FCNTLS: Final = (0, 1, 2, 3, 4, 1030, 1031, 1032, 1033, 1034)
# prctl(2): PR_SET_NAME, PR_GET_NAME, and PR_SET_VMA, which names memory.
PRCTLS: Final = (15, 16, 0x53564D41)
# madvise(2): MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE.
MADVICES: Final = (4, 8, 14, 15)
# getsockopt(2): SO_TYPE, SO_ERROR, SO_SNDBUF, SO_RCVBUF, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN.
SOCKET_OPTIONS: Final = (3, 4, 7, 8, 30, 38, 39)
# setsockopt(2): SO_PASSCRED, which a BoundSocket of a pair needs, and SO_LINGER, which whoever closes takes away.
SET_SOCKET_OPTIONS: Final = (16, 13)

BY_ARGUMENT: Final = (
    allow_if("clone", Condition(0, THREAD_FLAGS, THREAD_FLAGS_MASK)),
    *(
        allow_if("socketpair", Condition(0, AF_UNIX), Condition(1, kind, SOCK_TYPE_MASK), Condition(2, 0))
        for kind in (SOCK_STREAM, SOCK_SEQPACKET)
    ),
    allow_if("sendto", Condition(4, 0)),
    *(allow_if("getsockopt", Condition(1, SOL_SOCKET), Condition(2, option)) for option in SOCKET_OPTIONS),
    *(allow_if("setsockopt", Condition(1, SOL_SOCKET), Condition(2, option)) for option in SET_SOCKET_OPTIONS),
    *each("ioctl", 1, IOCTLS),
    Rule("ioctl", errno.ENOTTY, (Condition(1, TCGETS),)),
    *each("fcntl", 1, FCNTLS),
    *each("prctl", 0, PRCTLS),
    allow_if("mmap", Condition(2, 0, PROT_EXEC)),
    # An extension module: what can be mapped is what can be read, and its calls are held like all others.
    allow_if("mmap", Condition(2, PROT_EXEC, PROT_EXEC | PROT_WRITE), Condition(3, 0, MAP_ANONYMOUS)),
    allow_if("mprotect", Condition(2, 0, PROT_EXEC)),
    *each("madvise", 2, MADVICES),
    allow_if("prlimit64", Condition(0, 0), Condition(2, 0)),
    *(allow_if(call, Condition(0, 0, OTHERS_CLOCK)) for call in ("clock_gettime", "clock_getres", "clock_nanosleep")),
    # Asked of oneself; of others, they tell whether there are any.
    *(allow_if(call, Condition(0, 0)) for call in ("getpgid", "getsid", "sched_getaffinity")),
    allow("tgkill")[0],
)

# What a program needs to import from disk; an empty root and Landlock say what there is.
READING: Final = (
    allow_if("openat", Condition(2, 0, OPEN_MASK)),
    *allow("newfstatat", "getdents64", "readlink", "readlinkat", "getcwd", "access", "faccessat"),
)

# Libraries ask whether there is such a thing, and have another way.
PROBED: Final = tuple(
    Rule(call, errno.ENOSYS)
    for call in (
        *("clone3", "openat2", "faccessat2", "statx", "epoll_pwait2", "futex_waitv", "close_range", "io_uring_setup"),
        *("io_uring_enter", "io_uring_register", "pidfd_open", "copy_file_range", "landlock_create_ruleset"),
    )
)

# Nothing honest calls these.
NEVER: Final = tuple(
    Rule(call, Action.KILL)
    for call in (
        *("ptrace", "process_vm_readv", "process_vm_writev", "userfaultfd", "bpf", "perf_event_open", "keyctl"),
        *("add_key", "request_key", "mount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsmount"),
        *("fsconfig", "fspick", "mount_setattr"),
        *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "setns", "unshare"),
        *("open_by_handle_at", "name_to_handle_at", "pidfd_getfd", "process_madvise", "reboot", "swapon", "swapoff"),
        *("iopl", "ioperm", "acct", "quotactl", "kcmp", "syslog", "settimeofday", "clock_settime", "adjtimex"),
    )
)

# What a native program needs beside: to become itself, and to load its libraries. Landlock limits what it can become.
NATIVE: Final = (
    *allow("execve", "arch_prctl", "mmap", "mprotect", "getdents64", "wait4", "statfs", "chdir", "fchdir", "dup"),
    *allow("getxattr", "lgetxattr", "sched_getparam", "readlinkat", "stat", "lstat"),
    # The C library asks it of each thread, by its number (pthread_getattr_np).
    *allow("sched_getaffinity"),
    # Its own limits: workers of an ordinary user are the same user for the kernel, and could lower each other's.
    allow_if("prlimit64", Condition(0, 0)),
)

# What names are made of and used with: the stream and the datagram protocol.
NAMES: Final = (
    *(
        allow_if("socket", Condition(0, AF_UNIX), Condition(1, kind, SOCK_TYPE_MASK), Condition(2, 0))
        for kind in (SOCK_DGRAM, SOCK_SEQPACKET)
    ),
    *allow("bind", "listen", "connect", "accept4", "accept"),
)

STRICT_LAYERS: Final = frozenset(Layer)
# How much of the machine one worker may have that says nothing of its own. Time on the clock is the run's `within`.
STRICT_LIMITS: Final[Mapping[str, int]] = {
    "RLIMIT_AS": 4 << 30,
    "RLIMIT_CPU": 600,
    "RLIMIT_FSIZE": 1 << 30,
    "RLIMIT_MEMLOCK": 0,
}
# A user's processes are counted in each user namespace, and in those around it, by the limits of who made them.
STRICT_LATE_LIMITS: Final[Mapping[str, int]] = {"RLIMIT_NPROC": 512}

PROFILES: Final[Mapping[str, Policy]] = {
    policy.name: policy
    for policy in (
        Policy("none"),
        Policy("descriptors", layers=frozenset({Layer.NO_NEW_PRIVS})),
        Policy(
            "strict",
            layers=STRICT_LAYERS,
            rules=(*PLAIN, *BY_ARGUMENT, *READING, *PROBED, *NEVER),
            limits=STRICT_LIMITS,
            late_limits=STRICT_LATE_LIMITS,
            abstract_names=False,
        ),
        Policy(
            "names",
            layers=STRICT_LAYERS - {Layer.NETWORK_NAMESPACE},
            rules=(*PLAIN, *BY_ARGUMENT, *READING, *PROBED, *NEVER, *NAMES),
            limits=STRICT_LIMITS,
            late_limits=STRICT_LATE_LIMITS,
        ),
    )
}
