"""What becomes of a fork of the zygote: its descriptors in place, nothing else open, and then the program.

A Python program is imported and called. A native one is executed, and finds its descriptors as systemd's services do:
LISTEN_FDS of them from 3 on, LISTEN_PID its own process id, LISTEN_FDNAMES their names.

The manifest says what to do; the supervisor wrote it (as marshal does), and only this process reads it:

    name, protocol, layout      the worker's; a layout of None is the protocol's usual one
    descriptors         [number, name, kind] of each, from 3 on
    exports             whether to send the address over the control channel before the program runs (sel_ldr -X 5)
    env                 the whole environment
    limits, late_limits name and value of each resource limit; the late ones are for it alone where it is confined
    confinement         the number of that which is put on before any line of the program is read; None for none
    uid                 that of its own, where it has one
    program, path, argv, args    of a Python program: package.module:function, where to look for it first, its arguments
    late, supervised             what it will be granted later, and whether there is a control channel
    command, folder, listens     of a native one: the file and its argv, where it runs, whether it is told LISTEN_*
    invalid                      with which status it ends where it cannot be executed; None: as a shell would
"""

import atexit
import fcntl
import importlib
import marshal
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NoReturn

from sandbox.abi import CONTROL_CHANNEL, SERVICE_PORT, SERVICE_PORT_ADDRESS
from sandbox.confinement.confine import NOTHING, Confinement, LayerError
from sandbox.descriptors import ConnectedSocket, SocketAddress
from sandbox.imc import Imc
from sandbox.worker import Worker

# What a shell answers for a command that it cannot execute, or cannot find.
CANNOT_EXECUTE: Final = 126
NOT_FOUND: Final = 127
# What is never collected.
KEPT: Final[list[Worker]] = []


def start(
    told: Mapping[str, Any], placements: Sequence[tuple[int, int]], confinements: Sequence[Confinement]
) -> NoReturn:
    """Become the worker that the manifest tells of, with each fd of `placements` at its target number."""
    status, problem = 1, None
    confinement = NOTHING if told["confinement"] is None else confinements[told["confinement"]]
    try:
        try:
            confinement.enter()
        except LayerError as error:
            # It can be told once stderr is in its place.
            problem = error
        place_descriptors(placements)
        if problem is not None:
            raise problem
        limit(told["limits"])
        if told["exports"]:
            export(told["protocol"], told["layout"])
        confinement.give_up(told["uid"])
        limit(told["late_limits"])
        confinement.seal()
        status = execute(told) if "command" in told else run_program(told)
    except BaseException:  # noqa: BLE001 - a worker's failure, whatever it is, is told on its stderr
        traceback.print_exc()
    finally:
        finish(status)


def read_manifest(fd: int) -> dict[str, Any]:
    """Return what the supervisor tells the worker, and leave no other way to read it."""
    told: dict[str, Any] = marshal.loads(os.pread(fd, os.lseek(fd, 0, os.SEEK_END), 0))  # noqa: S302 - it is the supervisor's
    os.close(fd)
    return told


def place_descriptors(placements: Sequence[tuple[int, int]]) -> None:
    """Have each fd at its target number, and nothing else open.

    Sources and targets may overlap, so all of them move out of the targets' way first; that also spares us dup2(n, n),
    which would keep close-on-exec. The lowest numbers will do, so that one close to the limit can be a target.
    """
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


def limit(limits: Mapping[str, int]) -> None:
    """Set the resource limits. What is open above one on open files stays open."""
    for name, value in limits.items():
        # At the soft limit of processor time comes SIGXCPU, which can be caught, and a second later SIGKILL.
        hard = value + 1 if name == "RLIMIT_CPU" else value
        resource.setrlimit(getattr(resource, name), (value, hard))


def export(protocol: str, layout: str | None) -> None:
    """Send the address over the control channel, as `sel_ldr -X 5` does: no data, one descriptor."""
    channel, address = ConnectedSocket(CONTROL_CHANNEL), SocketAddress(SERVICE_PORT_ADDRESS)
    try:
        Imc(protocol, layout).imc_sendmsg(channel, b"", (address,))
    finally:
        # They stay where they are, for the program.
        channel.take()
        address.take()


def run_program(told: Mapping[str, Any]) -> int:
    """Adopt the descriptors, import the program, run it, and return its exit status."""
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
