"""The command `imclab` as a process of its own, without the half second that its imports take: a fork of their server.

    tests ── start, once a session ──> server, which has imported the command ── clones itself ──> the command

Programs of the tests' own that need the same imports are started as well, by the names of their modules.

It is a child of the tests' own process, with arguments, a folder, an environment and descriptors as `subprocess` gives
them, and is waited for, signalled and killed like any other. Where the start of the interpreter matters as well (what
it reads of the environment, who executes it, by what name), a test starts it itself.
"""

import fcntl
import gc
import importlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sandbox.zygote import CLONE_PARENT, clone

ROOT: Final = Path(__file__).parents[1]
REQUEST_BYTES: Final = 1 << 20
DESCRIPTORS_MAX: Final = 64
PID_BYTES: Final = 20


def finished(arguments: Sequence[str], *, timeout: float = 30, **rest: Any) -> subprocess.CompletedProcess[str]:
    """Return how the command ended, and what it said, as text. `module` is another program's."""
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", **rest}
    with Command(arguments, **piped) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


class Command(subprocess.Popen[Any]):
    """A started command: `arguments` follow its name, `module` has its `main`, and all else is as Popen has it."""

    def __init__(self, arguments: Sequence[str], *, module: str = "harness.command", **rest: Any) -> None:
        self._module = module
        super().__init__([os.fsdecode(argument) for argument in arguments], **rest)

    def _execute_child(
        self,
        args: Sequence[str],
        _executable: object,
        preexec_fn: object,
        _close_fds: object,
        pass_fds: Sequence[int],
        cwd: object,
        env: Mapping[str, str] | None,
        *rest: Any,
    ) -> None:
        """Do what Popen leaves to this method: start it, and close our copies of its ends of the pipes."""
        assert preexec_fn is None, "a fork of the server runs nothing of ours"
        _startupinfo, _creationflags, _shell, *pipes = rest[:9]
        stdin, _, _, stdout, _, stderr = pipes
        standard = [number if given == -1 else given for number, given in enumerate((stdin, stdout, stderr))]
        told = {
            "module": self._module,
            "arguments": list(args),
            "folder": str(Path.cwd() if cwd is None else cwd),
            "environment": dict(os.environ if env is None else env),
            "numbers": [0, 1, 2, *pass_fds],
        }
        try:
            self.pid = the_server().start(told, [*standard, *pass_fds])
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


class Server:
    """The process that has imported the command, as its parent holds it."""

    def __init__(self) -> None:
        self.made_by = os.getpid()
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = [sys.executable, "-m", "tests.command"]
        with theirs:
            self.process = subprocess.Popen(program, stdin=theirs.fileno(), cwd=ROOT, start_new_session=True)

    def start(self, told: Mapping[str, Any], fds: Sequence[int]) -> int:
        """Have it become a command with these descriptors (borrowed), and return its process id."""
        socket.send_fds(self._sock, [json.dumps(told).encode()], fds)
        return int(self._sock.recv(PID_BYTES))

    def end(self) -> None:
        """End it."""
        self._sock.close()
        self.process.wait()


# Of this process; one that is forked from it has none.
_servers: Final[list[Server]] = []


@contextmanager
def server() -> Iterator[None]:
    """Have the server, which is started for the first command, end with this."""
    try:
        yield
    finally:
        while _servers:
            _servers.pop().end()


def the_server() -> Server:
    """Return this process's."""
    if not _servers:
        _servers.append(Server())
    assert _servers[0].made_by == os.getpid()
    return _servers[0]


def server_pid() -> int | None:
    """Return the process id of the server, where there is one."""
    return _servers[0].process.pid if _servers else None


def serve(sock: socket.socket) -> str:
    """Clone a command for each request, until nobody can make one any more. Returns its module in each command."""
    while True:
        data, fds, _, _ = socket.recv_fds(sock, REQUEST_BYTES, DESCRIPTORS_MAX)
        if not data:
            sys.exit()
        pid, pidfd = clone(CLONE_PARENT)
        if not pid:
            sock.close()
            told = json.loads(data)
            become(told, fds)
            return str(told["module"])
        sock.send(b"%d" % pid)
        for fd in [pidfd, *fds]:
            os.close(fd)


def become(told: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Put the descriptors where they belong, and take over the arguments, the folder and the environment."""
    beyond = max(told["numbers"]) + 1
    for number, fd in zip(told["numbers"], [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, beyond) for fd in fds], strict=True):
        os.dup2(fd, number)
    # Whoever listed them had one itself, which is closed by now.
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:  # noqa: PTH208 - it keeps none open
        if fd not in told["numbers"]:
            with suppress(OSError):
                os.close(fd)
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    sys.argv[1:] = told["arguments"]
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = os.fdopen(0, encoding=encoding, closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding=encoding, closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding=encoding, errors="backslashreplace", closefd=False)


def main() -> None:
    """Be the server, and then each of the commands."""
    for needed in ("harness.command", "harness.cli", "harness.loader"):
        importlib.import_module(needed)
    # A collection in a fork would write to all that it has in common with the others.
    gc.collect()
    gc.freeze()
    module = serve(socket.socket(fileno=0))
    importlib.import_module(module).main()


if __name__ == "__main__":
    main()
