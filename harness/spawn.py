"""The supervisor's end of the zygote: starts it, has it fork, hears of every death.

The zygote answers in its own time and the supervisor serves others meanwhile: nothing here blocks. The socket to it is
the run's lifeline; whatever becomes of the supervisor, its end closes, and everything that was ever forked is ended.
"""

import _socket
import asyncio
import errno
import json
import marshal
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from harness.errors import MissingLayerError
from harness.launcher import WORDS_MAX, Launcher, launcher_of_a_run
from harness.waiting import fail, readable, settle, writable
from sandbox.confinement.policy import Layer
from sandbox.descriptors import over
from sandbox.transport import Packet, receive_packet, send_packet, seqpacket_pair

BIRTH_SECONDS: Final = 20.0
DEATH_SECONDS: Final = 10.0
# SCM_RIGHTS takes 253 in one packet; one of them is the manifest.
DESCRIPTORS_A_PACKET: Final = 200
ANSWER_BYTES: Final = 4096
# Who has just become a worker needs a processor for about as long, and so does a fork that nobody waits for yet.
AHEAD_SECONDS: Final = 0.002


class ZygoteError(Exception):
    """The zygote is gone, and every worker with it: a bug of ours, or somebody killed it."""


@dataclass(frozen=True, eq=False, slots=True)
class Process:
    """A worker's process: `pid` is the host's, `exited` its status as subprocess tells it (-N for a signal).

    `exited` raises ZygoteError where the zygote was gone before it could tell.
    """

    pid: int
    pidfd: int
    exited: asyncio.Future[int]

    def kill(self) -> None:
        """Send SIGKILL; to one that has ended already, nothing."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; to one that has ended already, nothing."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a fork is before it is told which worker it is, as `sandbox.start` has it."""

    confinement: int | None = None
    uid: int = 0
    limits: tuple[tuple[str, int], ...] = ()
    late_limits: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Fork:
    """A process that waits to be told, over `sock`, which worker to become."""

    process: Process
    sock: _socket.socket


class Zygote:
    """One run's forking server. `pid_namespace`: whether it is the init of one, so that orphans end with it."""

    def __init__(self, launcher: Launcher, sock: _socket.socket, words: int, held: ExitStack) -> None:
        """Hear of a zygote over `sock`, and of its last words over `words`; `held` lets go of both and the launcher."""
        self.pid_namespace = False
        self._words = words
        self._held = held
        self._loop = asyncio.get_running_loop()
        self._launcher = launcher
        self._sock = sock
        self._pidfd = -1
        self._born: asyncio.Future[None] = self._loop.create_future()
        self._lacking: asyncio.Future[Mapping[str, str]] = self._loop.create_future()
        self._prepared: asyncio.Future[str | None] = self._loop.create_future()
        self._forking: dict[int, asyncio.Future[Fork]] = {}
        # Who is to come and has not been forked, and who has been, ahead of need.
        self._expected: dict[Terms, None] = {}
        self._ahead: dict[Terms, asyncio.Future[Fork]] = {}
        # When the next one is asked for.
        self._following: asyncio.TimerHandle | None = None
        self._running: dict[int, Process] = {}
        self._pidfds: list[int] = []
        self._ways: list[_socket.socket] = []
        self._sending = asyncio.Lock()
        self._last_id = 0
        self._loop.add_reader(sock.fileno(), self._read)

    @classmethod
    async def start(cls, workers: int) -> Self:
        """Start a zygote for so many workers and wait for it. Raises ZygoteError."""
        with ExitStack() as held:
            launcher = held.enter_context(launcher_of_a_run(workers))
            ours, theirs = seqpacket_pair()
            sock = over(ours)
            held.callback(sock.close)
            try:
                words, stderr = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            except BaseException:
                os.close(theirs)
                raise
            held.callback(os.close, words)
            try:
                launcher.launch(theirs, stderr)
            finally:
                os.close(theirs)
                os.close(stderr)
            zygote = cls(launcher, sock, words, held.pop_all())
        try:
            async with asyncio.timeout(BIRTH_SECONDS):
                await asyncio.shield(zygote._born)
        except TimeoutError:
            await zygote.stop()
            raise ZygoteError(f"the zygote was not born within {BIRTH_SECONDS:g} s") from None
        except BaseException:
            await zygote.stop()
            raise
        return zygote

    async def spawn(
        self,
        terms: Terms,
        manifest: Mapping[str, Any],
        table: Mapping[int, int],
        confined: Callable[[Sequence[int]], object] | None = None,
    ) -> Process:
        """Have a worker with `table` (number → fd, borrowed) as its descriptors; it runs once `go` was said.

        Returns when it is confined, or has ended before. `confined` is called once it is, with its listener where the
        kernel tells which calls it is refused, and takes that over. Raises ZygoteError, OSError.
        """
        forked = self._ahead.pop(terms, None) or await self._fork(terms)
        fork = await forked
        try:
            await self._tell(fork.sock, manifest, table)
            (confined or close_all)(await answered(fork.sock))
            self._expect_nobody_soon()
            self._following = self._loop.call_later(AHEAD_SECONDS, self._fork_ahead)
        except (BrokenPipeError, ConnectionResetError):
            """Somebody ended it already, which its exit status will tell."""
        finally:
            fork.sock.close()
        return fork.process

    def _expect_nobody_soon(self) -> None:
        """Ask for no fork that nobody waits for."""
        if self._following is not None:
            self._following.cancel()

    def _fork_ahead(self) -> None:
        """Have one fork ready for whoever is next, if the zygote can be asked at once: else they ask for themselves."""
        if self._expected and not self._ahead:
            following = next(iter(self._expected))
            request, forked = self._request_of(following)
            try:
                send_packet(self._sock, (request,), nonblock=True)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                self._expected[following] = None
                del self._forking[self._last_id]
            else:
                self._ahead[following] = forked

    async def _fork(self, terms: Terms) -> asyncio.Future[Fork]:
        """Ask for a fork. Raises ZygoteError."""
        request, forked = self._request_of(terms)
        await self._send(request)
        return forked

    def _request_of(self, terms: Terms) -> tuple[bytes, asyncio.Future[Fork]]:
        """Return a request for a fork, and what comes of it."""
        self._expected.pop(terms, None)
        self._last_id += 1
        forked = self._forking[self._last_id] = self._loop.create_future()
        return json.dumps({"fork": self._last_id, "terms": told_of(terms)}).encode(), forked

    async def lacking(self, layers: Iterable[Layer]) -> dict[Layer, str]:
        """Return which of the layers do not work here, each with what the kernel says. Raises ZygoteError."""
        self._lacking = self._loop.create_future()
        await self._send(json.dumps({"probe": [layer.value for layer in layers]}).encode())
        found: Mapping[str, str] = await self._lacking
        return {Layer(name): said for name, said in found.items()}

    async def prepare(self, common: Mapping[str, Any], expected: Iterable[Terms]) -> None:
        """Have made ready what is common to workers, as `sandbox.zygote` says, of whom these will be asked for.

        Raises ZygoteError, and MissingLayerError where that cannot be done.
        """
        self._prepared = self._loop.create_future()
        with in_memory(common) as memory:
            await self._send(b'{"prepare": null}', [memory])
        said = await self._prepared
        if said is not None:
            raise MissingLayerError(f"the workers cannot be confined: {said}")
        self._expected = dict.fromkeys(expected)
        self._fork_ahead()

    async def go(self) -> None:
        """Let the workers run that were forked so far, and all later ones at once. Raises ZygoteError."""
        await self._send(b'{"go": true}')

    async def _tell(self, sock: _socket.socket, manifest: Mapping[str, Any], table: Mapping[int, int]) -> None:
        """Tell a fork what to become. Raises OSError where it is gone."""
        numbers = sorted(table)
        with in_memory(manifest) as memory:
            for first in range(0, len(numbers), DESCRIPTORS_A_PACKET):
                targets = numbers[first : first + DESCRIPTORS_A_PACKET]
                more = first + DESCRIPTORS_A_PACKET < len(numbers)
                fds = [table[number] for number in targets]
                await sent(sock, marshal.dumps((targets, more)), fds if more else [memory, *fds])

    async def _send(self, request: bytes, fds: Sequence[int] = ()) -> None:
        try:
            async with self._sending:
                await sent(self._sock, request, fds)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ZygoteError(self._last_words()) from error

    def _read(self) -> None:
        """Take in all that the zygote has said."""
        buffer = bytearray(ANSWER_BYTES)
        while True:
            try:
                packet = receive_packet(self._sock, buffer, nonblock=True)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue
            if not packet.size:
                self._lost(self._last_words())
                return
            if packet.control_truncated:
                self._lost("no descriptor was free for a pidfd")
                return
            self._take(json.loads(buffer[: packet.size]), packet)

    def _take(self, answer: Mapping[str, Any], packet: Packet) -> None:
        match answer:
            case {"born": int(), "pid_namespace": bool(pid_namespace)}:
                (self._pidfd,) = self._pidfds = list(packet.fds)
                self.pid_namespace = pid_namespace
                settle(self._born, None)
            case {"forked": int(worker_id)}:
                pidfd, way = packet.fds
                self._pidfds.append(pidfd)
                self._ways.append(over(way))
                try:
                    pid = pid_of(pidfd)
                except OSError as error:
                    # It will be told of nothing, and ends when its way does.
                    pid = -1
                    fail(self._forking[worker_id], error)
                process = self._running[worker_id] = Process(pid, pidfd, self._loop.create_future())
                settle(self._forking.pop(worker_id), Fork(process, self._ways[-1]))
            case {"lacking": dict(found)}:
                settle(self._lacking, found)
            case {"prepared": said}:
                settle(self._prepared, said)
            case {"failed": int(worker_id), "errno": int(number)}:
                fail(self._forking.pop(worker_id), OSError(number, os.strerror(number)))
            case {"exited": int(worker_id), "status": int(status)}:
                settle(self._running.pop(worker_id).exited, os.waitstatus_to_exitcode(status))

    def _lost(self, why: str) -> None:
        """Let everybody who waits for the zygote know that they wait in vain."""
        self._expect_nobody_soon()
        self._loop.remove_reader(self._sock.fileno())
        error = ZygoteError(why)
        fail(self._born, error)
        fail(self._lacking, error)
        fail(self._prepared, error)
        for forked in self._forking.values():
            fail(forked, error)
        for process in self._running.values():
            fail(process.exited, error)

    def _last_words(self) -> str:
        """Return what the zygote left on its stderr, or the launcher on its own."""
        with suppress(BlockingIOError):
            if words := os.read(self._words, WORDS_MAX).decode("utf-8", "backslashreplace").strip():
                return f"the zygote is gone: {words}"
        return f"the zygote is gone: {self._launcher.words().strip() or 'it left no word'}"

    async def stop(self) -> None:
        """End the zygote and all that it forked, and return when they are gone."""
        self._expect_nobody_soon()
        self._loop.remove_reader(self._sock.fileno())
        try:
            # Where the zygote is init, the kernel ends all others before the zygote itself is gone.
            for process in self._running.values():
                process.kill()
                await readable(process.pidfd, DEATH_SECONDS)
            await self._learn_of_birth()
            if self._pidfd >= 0:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                await readable(self._pidfd, DEATH_SECONDS)
                # A program that ignores SIGCHLD, or waits for every child, has reaped it already.
                with suppress(ChildProcessError):
                    os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        finally:
            for pidfd in self._pidfds:
                os.close(pidfd)
            for way in self._ways:
                way.close()
            self._held.close()

    async def _learn_of_birth(self) -> None:
        """Where the run ends before the zygote was born, let the launcher finish: who was born has to be reaped."""
        self._sock.shutdown(_socket.SHUT_WR)
        self._loop.add_reader(self._sock.fileno(), self._read)
        with suppress(ZygoteError, TimeoutError):
            async with asyncio.timeout(BIRTH_SECONDS):
                await asyncio.shield(self._born)
        self._loop.remove_reader(self._sock.fileno())


def told_of(terms: Terms) -> dict[str, Any]:
    """Return the terms as a fork is told them."""
    return {
        "confinement": terms.confinement,
        "uid": terms.uid,
        "limits": dict(terms.limits),
        "late_limits": dict(terms.late_limits),
    }


async def sent(sock: _socket.socket, packet: bytes, fds: Sequence[int]) -> None:
    """Send a packet with descriptors (borrowed), once there is room. Raises OSError."""
    while True:
        try:
            send_packet(sock, (packet,), fds, nonblock=True)
        except BlockingIOError:
            await writable(sock.fileno())
        else:
            return


async def answered(sock: _socket.socket) -> tuple[int, ...]:
    """Wait until a fork says that it is confined, and return the descriptors that came along.

    Raises ConnectionResetError where it is gone.
    """
    while True:
        await readable(sock.fileno())
        with suppress(BlockingIOError):
            packet = receive_packet(sock, bytearray(ANSWER_BYTES), nonblock=True)
            if not packet.size:
                raise ConnectionResetError
            if packet.control_truncated:
                raise OSError(errno.EMFILE, "no descriptor was free for a listener")
            return packet.fds


def close_all(fds: Sequence[int]) -> None:
    """Close these."""
    for fd in fds:
        os.close(fd)


@contextmanager
def in_memory(told: Mapping[str, Any]) -> Iterator[int]:
    """Lend a descriptor of a memfd that says this, as `sandbox.start.read_manifest` reads it."""
    memory = os.memfd_create("imclab-manifest", os.MFD_CLOEXEC)
    try:
        os.write(memory, marshal.dumps(dict(told)))
        yield memory
    finally:
        os.close(memory)


def pid_of(pidfd: int) -> int:
    """Return the process id that `pidfd` has in our own namespace, -1 where it was reaped."""
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii").splitlines()
    return next(int(line.removeprefix("Pid:")) for line in lines if line.startswith("Pid:"))
