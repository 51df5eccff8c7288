"""What becomes of a fork of the zygote: its descriptors in place, nothing else open, and then the program.

A Python program is imported and called. A native one is executed, and finds its descriptors as systemd's services do:
LISTEN_FDS of them from 3 on, LISTEN_PID its own process id, LISTEN_FDNAMES their names.

A fork is on its worker's terms before it is told which one that is:

    confinement         the number of that which is put on before any line of the program is read; None for none
    uid                 that of its own, where it has one
    limits, late_limits name and value of each resource limit; the late ones are for it alone where it is confined

The manifest says what to do then; the supervisor wrote it (as marshal does), and only this process reads it:

    name, protocol, layout      the worker's; a layout of None is the protocol's usual one
    descriptors         [number, name, kind] of each, from 3 on
    exports             whether to send the address over the control channel before the program runs (sel_ldr -X 5)
    env                 the whole environment
    program, path, argv, args    of a Python program: package.module:function, where to look for it first, its arguments
    late, supervised             what it will be granted later, and whether there is a control channel
    command, folder, listens     of a native one: the file and its argv, where it runs, whether it is told LISTEN_*
    invalid                      with which status it ends where it cannot be executed; None: as a shell would
"""

import _random
import _signal  # type: ignore[import-not-found]  # signal wraps each number and handler in an enum
import _socket
import atexit
import errno
import fcntl
import importlib
import marshal
import os
import random
import resource
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count, pairwise
from typing import Any, Final, NoReturn

from sandbox import control
from sandbox.abi import CONTROL_CHANNEL, SERVICE_PORT, SERVICE_PORT_ADDRESS
from sandbox.confinement.confine import Confinement, LayerError
from sandbox.confinement.seccomp import NO_LISTENER
from sandbox.descriptors import ConnectedSocket, SocketAddress, over
from sandbox.imc import Imc
from sandbox.transport import receive_packet, send_packet
from sandbox.worker import Imports, Inbox, Worker

# What a shell answers for a command that it cannot execute, or cannot find.
CANNOT_EXECUTE: Final = 126
NOT_FOUND: Final = 127
TOLD_BYTES: Final = 4096
# What a fork says to the supervisor once no call is left to it but those that are allowed.
CONFINED: Final = b"confined"
# None of 0, 1 and 2, even where the worker is to have none of them.
FIRST_KEPT: Final = 3
# A program like any other, that is ours.
UNDERSTUDY: Final = "sandbox.programs.understudy"
# How long a worker that starts tries to send a descriptor, and how often, where its user has too many in flight.
IN_FLIGHT_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 0.01
# What is never collected.
KEPT: Final[list[Worker]] = []


def start(terms: Mapping[str, Any], confinement: Confinement, sock: _socket.socket, gate: int) -> NoReturn:
    """Become a worker on these terms, which is told on `sock` (borrowed) who it is, and runs when `gate` has ended."""
    status, problem, parent = 1, None, os.getppid()
    try:
        forget_the_zygote()
        differ()
        try:
            confinement.enter()
            limit(terms["limits"])
            confinement.give_up(terms["uid"])
            limit(terms["late_limits"])
        except (LayerError, OSError, ValueError) as error:
            # It can be told once stderr is in its place.
            problem = error
        if not is_told(sock):
            warm_up()
        told, placements = what_to_become(sock)
        # It must never again close a number that is the worker's from here on.
        told_by, gate = place_descriptors(placements, (sock.detach(), gate))
        if problem is not None:
            raise problem
        limit_open_files(terms["limits"])
        if told["exports"]:
            export(told["protocol"], told["layout"])
        cut(told_by, gate, parent, confinement.seal())
        status = execute(told) if "command" in told else run_program(told, is_confined=terms["confinement"] is not None)
    except BaseException:  # noqa: BLE001 - a worker's failure, whatever it is, is told on its stderr
        traceback.print_exc()
    finally:
        finish(status)


def forget_the_zygote() -> None:
    """Have signals do what they do to any program."""
    _signal.set_wakeup_fd(-1)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def differ() -> None:
    """Have what would otherwise be the same in all forks differ."""
    # As random.seed() does, without a look at what it might be given: at seven types, in as many pages.
    _random.Random.seed(random._inst)  # noqa: SLF001
    threading.main_thread()._set_native_id()  # type: ignore[attr-defined]  # noqa: SLF001 - as threading does by itself


def is_told(sock: _socket.socket) -> bool:
    """Say whether the supervisor has said what to become, at least the beginning of it."""
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    return bool(poller.poll(0))


def warm_up() -> None:
    """Go through much of what any worker does, in vain: the pages that it touches are our own by the time it counts."""
    exec(compile("def main(worker):\n    return 0\n", UNDERSTUDY, "exec"), {})  # noqa: S102 - what is imported may be compiled
    # It cannot be where nothing of ours may be read.
    with suppress(ImportError, OSError):
        importlib.import_module(UNDERSTUDY)
        del sys.modules[UNDERSTUDY]
    control.encode(control.ANNOUNCE, "ready")
    Imports((), Inbox(Imc("socketpair"), None))


def what_to_become(sock: _socket.socket) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Wait for the manifest of a worker and the placements of its descriptors. There may be none to come: then end.

    They come in packets of (targets, more), as marshal writes them, with an fd for each target; the last one, which
    alone says that there are no more, has the manifest's memfd before them.
    """
    buffer = bytearray(TOLD_BYTES)
    placements = list[tuple[int, int]]()
    while (packet := receive_packet(sock, buffer)).size:
        targets, more = marshal.loads(buffer)  # noqa: S302 - it is the supervisor's
        fds = list(packet.fds)
        manifest = -1 if more else fds.pop(0)
        placements += zip(fds, targets, strict=True)
        if not more:
            return read_manifest(manifest), placements
    os._exit(0)


def read_manifest(fd: int) -> dict[str, Any]:
    """Return what the supervisor tells the worker, and leave no other way to read it."""
    told: dict[str, Any] = marshal.loads(os.pread(fd, os.lseek(fd, 0, os.SEEK_END), 0))  # noqa: S302 - it is the supervisor's
    os.close(fd)
    return told


def cut(told_by: int, gate: int, parent: int, listener: int) -> None:
    """Tell the supervisor that this worker is confined, with its listener if it has one, and wait until it may run.

    Nothing of the zygote is left to it then, and nothing to listen to itself. Until all workers are here none runs: one
    that fills its user's quota of descriptors in flight would keep the others from sending theirs.
    """
    sock = over(told_by)
    wait_out(lambda: send_packet(sock, (CONFINED,), () if listener == NO_LISTENER else (listener,)))
    sock.close()
    if listener != NO_LISTENER:
        os.close(listener)
    os.read(gate, 1)
    os.close(gate)
    if os.getppid() != parent:
        os._exit(1)


def place_descriptors(placements: Sequence[tuple[int, int]], kept: Sequence[int] = ()) -> list[int]:
    """Have each fd at its target number, those that are `kept` at others, which this returns, and nothing else open.

    Sources and targets may overlap, so all of them move out of the targets' way first; that also spares us dup2(n, n),
    which would keep close-on-exec. The lowest numbers will do, so that one close to the limit can be a target.
    """
    targets = {target for _, target in placements}
    free = (number for number in count(FIRST_KEPT) if number not in targets)
    placements = [*placements, *zip(kept, free, strict=False)]
    targets = {target for _, target in placements}
    moved, lowest = list[tuple[int, int]](), 0
    for fd, target in placements:
        while (copy := fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)) in targets:
            os.close(copy)
            lowest = copy + 1
        lowest = copy + 1
        moved.append((copy, target))
    for fd, target in moved:
        os.dup2(fd, target, inheritable=True)
    for below, above in pairwise((-1, *sorted(targets), 2**31 - 1)):
        if above - below > 1:
            os.closerange(below + 1, above)
    return [target for _, target in placements[len(placements) - len(kept) :]]


def limit(limits: Mapping[str, int]) -> None:
    """Set the resource limits, but that on open files: for that it is seen to that it can be set. Raises OSError."""
    for name, value in limits.items():
        number = getattr(resource, name)
        if name == "RLIMIT_NOFILE":
            soft, hard = resource.getrlimit(number)
            if hard != resource.RLIM_INFINITY and value > hard:
                resource.setrlimit(number, (soft, value))
        else:
            # At the soft limit of processor time comes SIGXCPU, which can be caught, and a second later SIGKILL.
            resource.setrlimit(number, (value, value + 1 if name == "RLIMIT_CPU" else value))


def limit_open_files(limits: Mapping[str, int]) -> None:
    """Set the limit on open files, once they are open: what is above it stays open."""
    if "RLIMIT_NOFILE" in limits:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits["RLIMIT_NOFILE"],) * 2)


def export(protocol: str, layout: str | None) -> None:
    """Send the address over the control channel, as `sel_ldr -X 5` does: no data, one descriptor. Raises ImcError."""
    channel, address = ConnectedSocket(CONTROL_CHANNEL), SocketAddress(SERVICE_PORT_ADDRESS)
    imc = Imc(protocol, layout)
    try:
        wait_out(lambda: imc.imc_sendmsg(channel, b"", (address,)))
    finally:
        # They stay where they are, for the program.
        channel.take()
        address.take()


def wait_out(send: Callable[[], object]) -> None:
    """Send, again and again where our user has too many descriptors in flight. Raises what `send` does, OSError.

    They are counted for all processes of a user: those of others may be too many for a while.
    """
    end = time.monotonic() + IN_FLIGHT_SECONDS
    while True:
        try:
            send()
        except OSError as error:
            cause = error.__cause__ or error
            if not isinstance(cause, OSError) or cause.errno != errno.ETOOMANYREFS or time.monotonic() > end:
                raise
            time.sleep(AGAIN_SECONDS)
        else:
            return


def run_program(told: Mapping[str, Any], *, is_confined: bool) -> int:
    """Adopt the descriptors, import the program, run it, and return its exit status.

    What a confined one fails by is told to the supervisor, too.
    """
    for name, value in told["env"].items():
        os.environ[name] = value
    sys.path[:0] = told["path"]
    sys.argv[:] = told["argv"]
    worker = Worker.adopt(told)
    # Its control channel has to stay open until the process ends: closed before, it looks as if the worker wanted that.
    KEPT.append(worker)
    module_name, _, function_name = told["program"].partition(":")
    try:
        program = getattr(importlib.import_module(module_name), function_name)
        worker.announce()
        return exit_status(program(worker))
    except SystemExit as error:
        return exit_status(error.code)
    except (OSError, ModuleNotFoundError) as error:
        if is_confined:
            # Where nobody hears it, there is the traceback.
            with suppress(OSError):
                worker.failed(error)
        raise


def execute(told: Mapping[str, Any]) -> int:
    """Replace this process by the program, whose descriptors and signals are as a shell would leave them.

    Returns only where that cannot be done, with what a shell answers then.
    """
    file, *argv = told["command"]
    environment = dict(told["env"])
    if told["listens"]:
        names = [name for number, name, _ in told["descriptors"] if number >= SERVICE_PORT]
        environment |= {
            "LISTEN_FDS": str(len(names)),
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDNAMES": ":".join(names),
        }
    # Python ignores them, and what is ignored stays so in what is executed.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.chdir(told["folder"])
        os.execve(file, argv, environment)  # noqa: S606 - a shell is what nobody wants here
    except OSError as error:
        sys.stderr.write(f"imclab: cannot execute {file}: {error.strerror}\n")
        return told["invalid"] or (NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE)


def exit_status(returned: object) -> int:
    """Return what sys.exit() makes of this value: None is 0, a number is itself modulo 256, else a message and 1."""
    if returned is None:
        return 0
    if isinstance(returned, int):
        return returned & 0xFF
    sys.stderr.write(f"{returned}\n")
    return 1


def finish(status: int) -> NoReturn:
    """End as an interpreter does: wait for threads, run what the program left to atexit, flush."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - as multiprocessing's own fork server does
        atexit._run_exitfuncs()  # noqa: SLF001
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
