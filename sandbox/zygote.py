"""The forking server: one warm interpreter a run, of which every worker is a fork.

    supervisor ── starts ──> launcher ── for each run: clones itself into a PID namespace ──> zygote (init there)
    zygote: for each request: fork ──> waits to be told what to become
                                       worker: place descriptors, close the rest, adopt them, import the program, run it

It is started before the supervisor holds anything, with an empty environment, so a worker has nothing but
what the supervisor gives it. Requests are JSON and SCM_RIGHTS over one SEQPACKET socket, which is the lifeline too:
when the supervisor is gone it hangs up, the zygote ends, and the kernel ends the workers.

    supervisor → zygote   {"fork": id, "terms": {…}}               as `start.py` has them
                          {"prepare": null}                       fd: what is common to workers, as below
                          {"probe": [layer, …]}                   which of them work here
                          {"go": true}                            workers wait for this
    zygote → supervisor   {"born": pid, "pid_namespace": bool}     fd: the zygote's pidfd (by the launcher)
                          {"forked": id}                          fds: the fork's pidfd, and the way to it
                          {"exited": id, "status": wait status}
                          {"failed": id, "errno": number}
                          {"prepared": null}, {"prepared": text}  done; or why not
                          {"lacking": {layer: text, …}}

The supervisor asks for a fork before it needs one: much of a start is pages that a fork has to have of its own, and for
whose copies nobody need wait. What to become is told to the fork itself, over a socket of its own, so that neither the
zygote nor any sibling ever has a descriptor or a word of it:

    supervisor → fork     as `start.what_to_become` has it
    fork → supervisor     as `start.cut` has it, before any line of a program is read

What is common to several workers is made ready before the first fork; it is told in a memfd, like what is one worker's:
`folders`, where their programs are looked for, and what `sandbox/world.py` says.

No worker runs before all are confined: one that fills its user's quota of descriptors in flight would else keep the
supervisor, the zygote and the forks from passing those of the others.
"""

import _socket
import atexit
import ctypes
import faulthandler
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
from importlib.machinery import PathFinder
from typing import Any, Final, NoReturn

from sandbox.abi import STACKS_SIGNAL
from sandbox.confinement.confine import NOTHING, PARENT, Confinement
from sandbox.confinement.kernel import DIE_WITH_PARENT, LIBC, checked, die_with_parent, make
from sandbox.confinement.policy import Layer
from sandbox.confinement.probe import lacking
from sandbox.descriptors import over
from sandbox.heap import fill_holes
from sandbox.rehearsal import rehearse
from sandbox.start import read_manifest, start
from sandbox.transport import receive_packet, send_packet, seqpacket_pair
from sandbox.world import confinements_of

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

REQUEST_BYTES: Final = 65536

# What a worker is likely to import, or needs for the report of an error: loaded once, shared by all.
PRELOADED: Final = (
    *("linecache", "mmap", "selectors", "socket", "datetime", "hashlib", "zlib", "math", "encodings.idna"),
    "sandbox.programs.probe",
)


def main() -> NoReturn:
    """Be a launcher, which is told on stdin when to clone a zygote, until that ends; or be such a zygote.

    Where the command line says that it is for many workers, it first sees to it that each needs little memory.
    """
    many = sys.argv[1:] == ["many"]
    forget_signals()
    told_by = over(os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    for module in PRELOADED:
        importlib.import_module(module)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    # What workers change of it is theirs; that there is nothing before is seen to here, once for all.
    os.environ.clear()
    # A run leaves nothing behind.
    sys.dont_write_bytecode = True
    # Where a worker hangs, the supervisor asks for its stack, on what is its stderr by then. An exec forgets it.
    faulthandler.register(STACKS_SIGNAL, file=2, all_threads=True)
    die_with_parent()
    if many:
        told_by = over(rehearse(told_by.detach()))
    # A worker has what its program leaves to it.
    atexit._clear()  # noqa: SLF001 - what is there is ours
    # What is here now, all zygotes have in common.
    settle(many)
    while (packet := receive_packet(told_by, bytearray(1))).fds:
        lifeline, stderr = packet.fds
        launch(over(lifeline), stderr, told_by, many)
    os._exit(0)


def launch(lifeline: _socket.socket, stderr: int, told_by: _socket.socket, many: bool) -> None:
    """Clone a zygote that serves `lifeline` and has `stderr`, and tell of its birth over that; or be it."""
    if clone_into_pid_namespace(lifeline):
        lifeline.close()
        os.close(stderr)
        return
    told_by.close()
    os.dup2(stderr, 2)
    os.close(stderr)
    die_with_parent()
    # Whoever signals a whole process group means its own run.
    os.setsid()
    Zygote(lifeline, many).serve()


def forget_signals() -> None:
    """Leave behind what the supervisor's process blocks or ignores; what Python ignores by itself stays ignored."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def clone_into_pid_namespace(lifeline: _socket.socket) -> bool:
    """Clone ourselves as the init of a PID namespace, as a child of the supervisor; without a namespace, if need be.

    Root may as it is; a user in a user namespace of its own, where the kernel allows that. Returns False to the clone.
    """
    uid, gid = os.getuid(), os.getgid()
    for flags in (CLONE_NEWPID, CLONE_NEWPID | CLONE_NEWUSER, 0):
        try:
            pid, pidfd = clone(flags | CLONE_PARENT)
        except OSError:
            if not flags:
                raise
            continue
        if pid:
            tell(lifeline, {"born": pid, "pid_namespace": bool(flags)}, pidfd)
            os.close(pidfd)
            return True
        if flags & CLONE_NEWUSER:
            map_ids(uid, gid)
        return False
    raise AssertionError


def clone(flags: int) -> tuple[int, int]:
    """Fork by clone3. Returns (pid, pidfd) to the parent, (0, -1) to the child. Raises OSError.

    The C library learns of the child's thread id as it does from its own fork, or threads would not work there.
    """
    tid_address = ctypes.c_void_p()
    LIBC.prctl(PR_GET_TID_ADDRESS, ctypes.byref(tid_address), 0, 0, 0)
    pidfd = ctypes.c_int(-1)
    flags |= CLONE_PIDFD | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID
    args = CLONE_ARGS.pack(flags, ctypes.addressof(pidfd), tid_address.value or 0, *[0] * 8)
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(LIBC.syscall(SYS_CLONE3, args, len(args)))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    number = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number))
    return pid, pidfd.value


def fork() -> int:
    """Fork, and do nothing of what Python's own fork does in the child. Returns the pid, or 0. Raises OSError.

    That would be for what other threads left behind, and here are none; it would touch, and so have the kernel copy,
    more of our memory than all that a worker does until its program runs. What matters of it is `start.differ`.
    """
    return checked(LIBC.fork())


def map_ids(uid: int, gid: int) -> None:
    """Be the same user and group in our user namespace as outside. Raises OSError."""
    for name, text in (("setgroups", "deny"), ("gid_map", f"{gid} {gid} 1"), ("uid_map", f"{uid} {uid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def tell(lifeline: _socket.socket, message: Mapping[str, Any], *fds: int) -> None:
    """Send a message to the supervisor. The descriptors are borrowed. Raises OSError where it is gone."""
    send_packet(lifeline, (json.dumps(message).encode(),), fds)


def wake(*_: object) -> None:
    """Do nothing about a signal: that it came is seen where the zygote waits."""


def settle(many: bool) -> None:
    """Leave what is here alone from now on: a collection in a worker would write to pages that all share."""
    if many:
        gc.collect()
        fill_holes()
    gc.freeze()
    # It was off while what stays was made.
    gc.enable()


class Zygote:
    """Forks on request, reaps, and says so."""

    def __init__(self, lifeline: _socket.socket, many: bool) -> None:
        self._lifeline = lifeline
        self._many = many
        self._wakeup, self._wakeup_writer = (over(end.detach()) for end in _socket.socketpair())
        self._workers: dict[int, int] = {}
        self._confinements = list[Confinement]()
        # Reads as ended once we close the writing end.
        self._gate, self._gate_holder = os.pipe()

    def serve(self) -> NoReturn:
        """Serve until the supervisor is gone."""
        os.set_blocking(self._wakeup.fileno(), False)
        os.set_blocking(self._wakeup_writer.fileno(), False)
        signal.set_wakeup_fd(self._wakeup_writer.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, wake)
        # An init is deaf to what it has no handler for, and Python has one for SIGINT.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
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
            self._gate_holder = -1
            return
        if "probe" in request:
            found = lacking(map(Layer, request["probe"]))
            tell(self._lifeline, {"lacking": {layer.value: said for layer, said in found.items()}})
            return
        if "prepare" in request:
            tell(self._lifeline, {"prepared": self._prepare(read_manifest(*packet.fds))})
            return
        self._fork(request["fork"], request["terms"])

    def _fork(self, worker_id: int, terms: Mapping[str, Any]) -> None:
        parent = os.getpid()
        ours, theirs = seqpacket_pair()
        try:
            pid = fork()
        except OSError as error:
            tell(self._lifeline, {"failed": worker_id, "errno": error.errno})
        else:
            if not pid:
                self._become_worker(parent, terms, ours)
            self._workers[pid] = worker_id
            # Nobody else reaps, so this pid is still the worker's.
            pidfd = os.pidfd_open(pid)
            tell(self._lifeline, {"forked": worker_id}, pidfd, theirs)
            os.close(pidfd)
        finally:
            os.close(ours)
            os.close(theirs)

    def _prepare(self, common: Mapping[str, Any]) -> str | None:
        """Make ready what workers will find, so that none has to make it. Returns what went wrong."""
        try:
            self._confinements = confinements_of(common)
        except OSError as error:
            return str(error)
        # The import system looks there once, and remembers how.
        PathFinder.find_spec("", common["folders"])
        settle(self._many)
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

    def _become_worker(self, parent: int, terms: Mapping[str, Any], told_by: int) -> NoReturn:
        """Leave everything of the zygote behind, and become a worker."""
        try:
            if make(*DIE_WITH_PARENT) < 0 or make(*PARENT) != parent:
                os._exit(1)
            if self._gate_holder >= 0:
                os.close(self._gate_holder)
            number = terms["confinement"]
            confinement = NOTHING if number is None else self._confinements[number]
            start(terms, confinement, over(told_by), self._gate)
        except BaseException:  # noqa: BLE001 - a worker's failure, whatever it is, is told on its stderr
            traceback.print_exc()
        finally:
            os._exit(1)
