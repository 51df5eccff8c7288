"""The forking server: one warm interpreter a run, of which every worker is a fork.

    supervisor ── starts ──> launcher ── clones itself into a PID namespace, exits ──> zygote (init there)
    zygote: for each request: fork ──> worker: place descriptors, close the rest, adopt them, import the program, run it

It is started before the supervisor holds anything, with an empty environment, so a worker has nothing to inherit but
what its request brings. Requests are JSON and SCM_RIGHTS over one SEQPACKET socket, which is the lifeline too: when
the supervisor is gone it hangs up, the zygote ends, and the kernel ends the workers. What a worker is told (program,
arguments, environment) lies in a memfd that only the worker reads, so siblings find no trace of it in their memory.

    supervisor → zygote   {"spawn": id, "targets": [number, …], "more": bool}   fds: one a target; the last packet's
                                                                               first fd is the manifest
                          {"world": [kind, …], "shown": [path, …]}             namespaces for the workers to enter
                          {"probe": [layer, …]}                                which of them work here
                          {"go": true}                                         forked workers wait for this
    zygote → supervisor   {"born": pid, "pid_namespace": bool}                  fd: the zygote's pidfd (by the launcher)
                          {"started": id}                                      fd: the worker's pidfd
                          {"exited": id, "status": wait status}
                          {"failed": id, "errno": number}
                          {"world": null}, {"world": text}                     made; or why not
                          {"lacking": {layer: text, …}}

(A spawn whose targets do not fit one packet's descriptors comes in several; all but the last say more.)

No worker runs before all are forked: one that fills its user's quota of descriptors in flight would else keep the
supervisor and the zygote from passing those of the others.
"""

import _socket
import atexit
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import struct
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from sandbox.confinement import namespaces
from sandbox.confinement.policy import Layer
from sandbox.confinement.probe import lacking
from sandbox.descriptors import over
from sandbox.start import die_with_parent, read_manifest, start
from sandbox.transport import receive_packet, send_packet, seqpacket_pair

# linux/sched.h
CLONE_PIDFD: Final = 0x1000
CLONE_PARENT: Final = 0x8000
CLONE_CHILD_CLEARTID: Final = 0x0020_0000
CLONE_CHILD_SETTID: Final = 0x0100_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
SYS_CLONE3: Final = 435  # the same number on every architecture
CLONE_ARGS: Final = struct.Struct("11Q")

# linux/prctl.h
PR_GET_TID_ADDRESS: Final = 40

# PyDLL: the GIL is held, as it must be around a fork.
_LIBC: Final = ctypes.PyDLL(None, use_errno=True)

REQUEST_BYTES: Final = 65536

# What a worker is likely to import, or needs for the report of an error: loaded once, shared by all.
PRELOADED: Final = (
    *("linecache", "mmap", "random", "selectors", "socket", "datetime", "hashlib", "zlib", "math", "encodings.idna"),
    "sandbox.programs.probe",
)


def main() -> NoReturn:
    """Serve the supervisor at the other end of the lifeline, which is stdin at first."""
    forget_signals()
    lifeline = over(os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    for module in PRELOADED:
        importlib.import_module(module)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    die_with_parent()
    enter_pid_namespace(lifeline)
    die_with_parent()
    Zygote(lifeline).serve()


def forget_signals() -> None:
    """Leave behind what the supervisor's process blocks or ignores; what Python ignores by itself stays ignored."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def enter_pid_namespace(lifeline: _socket.socket) -> None:
    """Go on as the init of a PID namespace of our own, still a child of the supervisor; or as we are, if we may not.

    Root may as it is; a user in a user namespace of its own, where the kernel allows that.
    """
    uid, gid = os.getuid(), os.getgid()
    for flags in (CLONE_NEWPID, CLONE_NEWPID | CLONE_NEWUSER):
        try:
            pid, pidfd = clone(flags | CLONE_PARENT)
        except OSError:
            continue
        if pid:
            tell(lifeline, {"born": pid, "pid_namespace": True}, pidfd)
            os._exit(0)
        if flags & CLONE_NEWUSER:
            map_ids(uid, gid)
        return
    tell(lifeline, {"born": os.getpid(), "pid_namespace": False}, os.pidfd_open(os.getpid()))


def clone(flags: int) -> tuple[int, int]:
    """Fork by clone3. Returns (pid, pidfd) to the parent, (0, -1) to the child. Raises OSError.

    The C library learns of the child's thread id as it does from its own fork, or threads would not work there.
    """
    tid_address = ctypes.c_void_p()
    _LIBC.prctl(PR_GET_TID_ADDRESS, ctypes.byref(tid_address), 0, 0, 0)
    pidfd = ctypes.c_int(-1)
    flags |= CLONE_PIDFD | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID
    args = CLONE_ARGS.pack(flags, ctypes.addressof(pidfd), tid_address.value or 0, *[0] * 8)
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_LIBC.syscall(SYS_CLONE3, args, len(args)))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    number = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number))
    return pid, pidfd.value


def map_ids(uid: int, gid: int) -> None:
    """Be the same user and group in our user namespace as outside. Raises OSError."""
    for name, text in (("setgroups", "deny"), ("gid_map", f"{gid} {gid} 1"), ("uid_map", f"{uid} {uid} 1")):
        Path("/proc/self", name).write_text(text, encoding="ascii")


def tell(lifeline: _socket.socket, message: Mapping[str, Any], fd: int | None = None) -> None:
    """Send a message to the supervisor. `fd` is borrowed. Raises OSError where it is gone."""
    send_packet(lifeline, (json.dumps(message).encode(),), () if fd is None else (fd,))


class Zygote:
    """Forks on request, reaps, and says so."""

    def __init__(self, lifeline: _socket.socket) -> None:
        self._lifeline = lifeline
        self._wakeup, self._wakeup_writer = (over(end.detach()) for end in _socket.socketpair())
        self._pending: list[tuple[int, int]] = []
        self._workers: dict[int, int] = {}
        # The namespaces that workers may enter, by kind.
        self._world: dict[str, int] = {}
        # Reads as ended once we close the writing end.
        self._gate, self._gate_holder = os.pipe()

    def serve(self) -> NoReturn:
        """Serve until the supervisor is gone."""
        os.set_blocking(self._wakeup.fileno(), False)
        os.set_blocking(self._wakeup_writer.fileno(), False)
        signal.set_wakeup_fd(self._wakeup_writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # An init is deaf to what it has no handler for, and Python has one for SIGINT.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Collect now, then leave what is here alone: a collection in a worker would write to pages that all share.
        gc.collect()
        gc.freeze()
        poller = select.poll()
        poller.register(self._lifeline.fileno(), select.POLLIN)
        poller.register(self._wakeup.fileno(), select.POLLIN)
        buffer = bytearray(REQUEST_BYTES)
        try:
            while True:
                ready = {fd for fd, _ in poller.poll()}
                if self._wakeup.fileno() in ready:
                    self._wakeup.recv(4096)
                    self._reap()
                if self._lifeline.fileno() in ready:
                    self._take_request(buffer)
        except (BrokenPipeError, ConnectionResetError):
            self._end()

    def _end(self) -> NoReturn:
        """End, and with us, where we are init, all that we ever forked; else at least the workers themselves."""
        for pid in self._workers:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)

    def _take_request(self, buffer: bytearray) -> None:
        packet = receive_packet(self._lifeline, buffer)
        if not packet.size:
            self._end()
        request = json.loads(buffer[: packet.size])
        if "go" in request:
            os.close(self._gate_holder)
            return
        if "probe" in request:
            found = lacking(map(Layer, request["probe"]))
            tell(self._lifeline, {"lacking": {layer.value: said for layer, said in found.items()}})
            return
        if "world" in request:
            tell(self._lifeline, {"world": self._make_world(request["world"], request["shown"])})
            return
        fds = list(packet.fds)
        manifest = -1 if request["more"] else fds.pop(0)
        self._pending += zip(fds, request["targets"], strict=True)
        if not request["more"]:
            placements, self._pending = self._pending, []
            self._spawn(request["spawn"], manifest, placements)

    def _spawn(self, worker_id: int, manifest: int, placements: list[tuple[int, int]]) -> None:
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            tell(self._lifeline, {"failed": worker_id, "errno": error.errno})
        else:
            if not pid:
                self._become_worker(parent, manifest, placements)
            self._workers[pid] = worker_id
            # Nobody else reaps, so this pid is still the worker's.
            pidfd = os.pidfd_open(pid)
            tell(self._lifeline, {"started": worker_id}, pidfd)
            os.close(pidfd)
        for fd in (manifest, *(fd for fd, _ in placements)):
            os.close(fd)

    def _make_world(self, kinds: list[str], shown: list[str]) -> str | None:
        """Have a child make namespaces, and keep a descriptor of each. Returns what went wrong."""
        reader, writer = (over(end) for end in seqpacket_pair())
        pid = os.fork()
        if not pid:
            try:
                fds = namespaces.make(kinds, shown)
                send_packet(writer, (b"made",), tuple(fds.values()))
            except BaseException as error:  # noqa: BLE001 - whatever it is, the supervisor tells it
                send_packet(writer, (str(error).encode()[:REQUEST_BYTES],))
            finally:
                os._exit(0)
        writer.close()
        buffer = bytearray(REQUEST_BYTES)
        packet = receive_packet(reader, buffer)
        reader.close()
        os.waitpid(pid, 0)
        if len(packet.fds) != len(kinds):
            return buffer[: packet.size].decode(errors="replace") or "whoever made it ended"
        self._world = dict(zip(kinds, packet.fds, strict=True))
        return None

    def _reap(self) -> None:
        """Report each worker that ended; orphans, whose init we are, just go."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._workers:
                tell(self._lifeline, {"exited": self._workers.pop(pid), "status": status})

    def _become_worker(self, parent: int, manifest: int, placements: list[tuple[int, int]]) -> NoReturn:
        """Leave everything of the zygote behind and start the program."""
        try:
            die_with_parent()
            os.close(self._gate_holder)
            os.read(self._gate, 1)
            if os.getppid() != parent:
                os._exit(1)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            # These objects must never again close numbers that are the worker's from here on.
            for sock in (self._lifeline, self._wakeup, self._wakeup_writer):
                sock.detach()
            atexit._clear()  # noqa: SLF001 - what is there is the zygote's
            start(read_manifest(manifest), placements, self._world)
        except BaseException:  # noqa: BLE001 - a worker's failure, whatever it is, is told on its stderr
            traceback.print_exc()
        finally:
            os._exit(1)
