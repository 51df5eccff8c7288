"""Runs one module as sel_ldr does: `imclab sel-ldr`.

It is a process of the same zygote that runs the workers of a topology, with what its launcher hands down and nothing
else: 0, 1 and 2 are ours, 3 and 4 the service port and its address where there is one, the others as asked for.
"""

import asyncio
import errno
import fcntl
import os
import re
import resource
import signal
import stat
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, Final

from harness.sel_ldr import ARGV0, NO_MODULE, Handed, Load, Refusal, parse
from harness.spawn import Process, Terms, Zygote, ZygoteError
from sandbox.abi import ADDRESS_NAME, BOUND_SOCKET_NAME, SERVICE_PORT, SERVICE_PORT_ADDRESS
from sandbox.descriptors import ConnectedSocket, Descriptor, SocketAddress
from sandbox.errors import ImcError
from sandbox.imc import Imc

PYTHON_PROGRAM: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
STDERR: Final = 2
STANDARD: Final = (0, 1, STDERR)
# A signal that ends us ends the module, and is told as the module's own.
PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KINDS: Final[Mapping[str, str]] = {"i": "ConnectedSocket", "h": "HostFile", "r": "HostFile", "w": "HostFile"}
WANTED: Final[Mapping[str, int]] = {"h": os.O_RDWR, "r": os.O_RDONLY, "w": os.O_WRONLY}
ELF_HEADER_BYTES: Final = 52
ACCESS: Final = os.O_RDONLY | os.O_WRONLY | os.O_RDWR


def main(arguments: Sequence[str]) -> int:
    """Load and run a module, and return the exit status of sel_ldr."""
    try:
        load = parse(arguments, os.environ)
        # Whatever is opened from here on is ours, and nothing that was handed down.
        held = frozenset(filter(is_open, {*STANDARD, *(handed.ours for handed in load.handed)}))
        with ExitStack() as stack:
            log = Log(load, stack)
            command = command_of(load)
            with descriptors_of(load, held) as table:
                log.tell(1, f"{load.module}: descriptors {', '.join(map(str, sorted(table)))}")
                return 0 if load.quits else asyncio.run(run(load, command, table, log))
    except Refusal as refusal:
        sys.stderr.write(f"imclab sel-ldr: {refusal}\n")
        return refusal.exit_status
    except (OSError, ZygoteError) as error:
        sys.stderr.write(f"imclab sel-ldr: {error}\n")
        return NO_MODULE


class Log:
    """Where things are told: stderr, and the log file where there is one."""

    def __init__(self, load: Load, stack: ExitStack) -> None:
        self._verbosity = load.verbosity
        self._fds = [STDERR]
        if load.log is not None:
            try:
                opened = stack.enter_context(Path(load.log).open("ab", buffering=0))  # noqa: SIM115 - it is one
            except OSError as error:
                raise Refusal(f"-l {load.log}: {error.strerror}", NO_MODULE) from None
            self._fds.append(opened.fileno())

    def tell(self, level: int, text: str) -> None:
        """Write a line, where that much is to be told."""
        for fd in self._fds if level <= self._verbosity else ():
            # Whoever listened is gone, or the disk is full: the module's status is still to be told.
            with suppress(OSError):
                os.write(fd, os.fsencode(f"{text}\n"))


def command_of(load: Load) -> dict[str, Any]:
    """Return what the manifest says of the program. Raises Refusal where there is none."""
    folder = str(Path.cwd())
    argv = [ARGV0, *load.arguments]
    file = Path(load.module).absolute()
    if not file.exists() and PYTHON_PROGRAM.fullmatch(load.module):
        if (
            load.quits
            and PathFinder.find_spec(load.module.partition(":")[0].partition(".")[0], [folder, *sys.path]) is None
        ):
            raise Refusal(f"no module {load.module!r}", NO_MODULE)
        return {
            "program": load.module,
            "path": [folder],
            "argv": argv,
            "args": {},
            "late": [],
            "supervised": False,
        }
    if not file.exists():
        raise Refusal(f"no module {load.module!r}", NO_MODULE)
    if not file.is_file() or not os.access(file, os.X_OK) or (load.quits and not looks_loadable(file)):
        raise Refusal(f"{load.module!r} is no executable", NO_MODULE)
    return {"command": [str(file), *argv], "folder": folder, "listens": False, "invalid": NO_MODULE}


def looks_loadable(file: Path) -> bool:
    """Say whether a file begins as what the kernel executes does, for it is not to be executed."""
    with file.open("rb") as opened:
        head = opened.read(ELF_HEADER_BYTES)
    return head.startswith(b"#!") or (head.startswith(b"\x7fELF") and len(head) == ELF_HEADER_BYTES)


@contextmanager
def descriptors_of(load: Load, held: Container[int]) -> Iterator[dict[int, Descriptor]]:
    """Yield the module's descriptors by their numbers there, each ours to close; the address is sent already.

    `held` are those that we were started with.

    Raises Refusal, ImcError.
    """
    table: dict[int, Descriptor] = {}
    try:
        for number in (number for number in STANDARD if number in held):
            table[number] = Descriptor(fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 0))
        for handed in load.handed:
            descriptor = descriptor_of(handed, held)
            if handed.theirs in table:
                table[handed.theirs].close()
            table[handed.theirs] = descriptor
        if load.port is not None:
            imc = Imc(load.protocol, load.layout)
            table[SERVICE_PORT], address = imc.imc_makeboundsock()
            table[SERVICE_PORT_ADDRESS] = address
            if load.port >= 0:
                send_address(imc, address, load)
        # It was handed down for the module: whoever has the other end is to see when the module closes it.
        for ours in {handed.ours for handed in load.handed} - set(STANDARD):
            os.close(ours)
        yield table
    finally:
        for descriptor in table.values():
            descriptor.close()


def descriptor_of(handed: Handed, held: Container[int]) -> Descriptor:
    """Return a descriptor of ours as the module is to have it, owned by the caller. Raises Refusal."""
    what = f"-{handed.option} {handed.theirs}:{handed.ours}"
    if handed.ours not in held:
        raise Refusal(f"{what}: we have no descriptor {handed.ours}", NO_MODULE)
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if handed.theirs >= limit:
        raise Refusal(
            f"{what}: there can be no descriptor {handed.theirs}, the limit is {limit} (ulimit -n)", NO_MODULE
        )
    if handed.option != "i":
        has, wanted = fcntl.fcntl(handed.ours, fcntl.F_GETFL), WANTED[handed.option]
        if has & ACCESS == os.O_RDWR and wanted != os.O_RDWR:
            return narrowed(handed.ours, wanted | has & os.O_APPEND, what)
        if wanted not in (os.O_RDWR, has & ACCESS):
            raise Refusal(
                f"{what}: ours is not open for {'reading' if wanted == os.O_RDONLY else 'writing'}", NO_MODULE
            )
    return Descriptor(fcntl.fcntl(handed.ours, fcntl.F_DUPFD_CLOEXEC, 0))


def narrowed(fd: int, flags: int, what: str) -> Descriptor:
    """Return the file of `fd`, at the same place, opened with flags that allow less than `fd` does. Raises Refusal."""
    try:
        descriptor = Descriptor(os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError as error:
        raise Refusal(f"{what}: it cannot be opened for less than it is: {error.strerror}", NO_MODULE) from None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        os.lseek(descriptor.fileno(), os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
    return descriptor


def is_open(fd: int) -> bool:
    """Say whether this is a descriptor of ours."""
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except (OSError, OverflowError):
        return False
    return True


def send_address(imc: Imc, address: SocketAddress, load: Load) -> None:
    """Send the address over the descriptor that the module will have as its number `port`. Raises Refusal."""
    over = next((handed for handed in reversed(load.handed) if handed.theirs == load.port), None)
    if over is None or over.option != "i":
        raise Refusal(f"-X {load.port}: the module's descriptor {load.port} is none of those of -i", NO_MODULE)
    try:
        channel = ConnectedSocket(over.ours)
        try:
            imc.imc_sendmsg(channel, b"", (address,))
        finally:
            # It is our caller's, and stays open.
            channel.take()
    except ImcError as error:
        raise Refusal(f"-X {load.port}: {error.strerror}", NO_MODULE) from None
    except OSError as error:
        what = "it is no socket" if error.errno == errno.ENOTSOCK else error.strerror
        raise Refusal(f"-X {load.port}: our descriptor {over.ours}: {what}", NO_MODULE) from None


async def run(load: Load, command: Mapping[str, Any], table: Mapping[int, Descriptor], log: Log) -> int:
    """Run the module, and return the exit status of sel_ldr. Raises ZygoteError, OSError."""
    passed_on: list[int] = []
    process: Process | None = None

    def pass_on(number: int) -> None:
        passed_on.append(number)
        if process is not None:
            process.kill()

    loop = asyncio.get_running_loop()
    for number in PASSED_ON:
        # What a shell or nohup had us ignore stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, pass_on, number)
    zygote = await Zygote.start(workers=1)
    try:
        numbers = {number: descriptor.fileno() for number, descriptor in table.items()}
        process = await zygote.spawn(Terms(), manifest(load, command), numbers)
        # Now the module alone has them.
        for descriptor in table.values():
            descriptor.close()
        if passed_on:
            process.kill()
        await zygote.go()
        status = await process.exited
    finally:
        await zygote.stop()
    # One that ended by itself all the same has its own status.
    if passed_on and status == -signal.SIGKILL:
        status = -passed_on[0]
    if status < 0:
        log.tell(0, f"** Signal {-status} from untrusted code")
    log.tell(1, f"{load.module}: ended with {status}")
    return status & 0xFF


def manifest(load: Load, command: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `sandbox.start` tells the module of itself."""
    descriptors: dict[int, list[Any]] = {
        handed.theirs: [handed.theirs, f"descriptor_{handed.theirs}", KINDS[handed.option]] for handed in load.handed
    }
    if load.port is not None:
        descriptors[SERVICE_PORT] = [SERVICE_PORT, BOUND_SOCKET_NAME, "BoundSocket"]
        descriptors[SERVICE_PORT_ADDRESS] = [SERVICE_PORT_ADDRESS, ADDRESS_NAME, "SocketAddress"]
    return {
        "name": load.module,
        "protocol": load.protocol,
        "layout": load.layout,
        "descriptors": [descriptors[number] for number in sorted(descriptors)],
        "exports": False,
        "env": load.environment,
        **command,
    }
