"""A browser in small: renderers that may crash, and the processes that have to outlive them.

    renderer ── come NAME ──────────────────────────> broker    meet, with the SocketAddresses of gpu and network
             ── get URL ────────────────────────────> network   page, in SharedMemory
             ── draw, a frame in SharedMemory ──────> gpu       drawn, whether it is what its SHA-256 says
             ── leave NAME ─────────────────────────> broker    nothing; who ends without it has vanished

A renderer is granted the broker and nothing else. When one has vanished, the broker exports its address once more, as
`reload`, for a renderer that waits for that. Each server keeps a ledger of its clients; `audit N` is answered with it
once N of them are gone. The auditor reads all three, and computes in plain Python what the frames should have been.

A client names itself, and no name is taken twice. One that breaks the rules is out: its connection ends. What it could
still do is to shut down the addresses that the broker passed on, which all renderers share (ARCHITECTURE.md says why).
"""

import hashlib
import itertools
import os
import re
import resource
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from sandbox.descriptors import ConnectedSocket, SocketAddress
from sandbox.errors import ImcError, MalformedMessage
from sandbox.imc import Imc
from sandbox.programs.messages import Heard, close_all, data_of, hear, memory_of, say
from sandbox.programs.server import serve_until_stopped
from sandbox.worker import Worker

PAGE_BYTES: Final = 100_000
FRAME_BYTES: Final = 256 * 1024
NAME: Final = re.compile(r"[!-~]{1,64}")
CLIENTS_MAX: Final = 256

LEFT: Final = "left"
VANISHED: Final = "vanished"


def page_of(url: str) -> bytes:
    """Return the page that lies at `url`."""
    return hashlib.shake_256(url.encode()).digest(PAGE_BYTES)


def frame_of(page: bytes, number: int) -> bytes:
    """Return what the page looks like in frame `number`."""
    return hashlib.shake_256(b"%d" % number + page).digest(FRAME_BYTES)


def film_of(frames: Iterable[bytes]) -> str:
    """Return a hash of all frames and of their order."""
    film = hashlib.sha256()
    for frame in frames:
        film.update(hashlib.sha256(frame).digest())
    return film.hexdigest()


class Ledger:
    """What a server has seen of each of its clients, by their names, and how many of them are gone."""

    def __init__(self, clients_max: int = CLIENTS_MAX) -> None:
        self._clients_max = clients_max
        self._changed = threading.Condition()
        self._gone = 0
        self._seen: dict[str, Any] = {}

    @contextmanager
    def client(self, name: object, seen: Any) -> Iterator[str]:
        """Have a client until the end of the block, of which `seen` has been seen so far. Yields its name.

        Raises MalformedMessage for what is no name, for a name that is taken, and for a client too many.
        """
        with self._changed:
            if not isinstance(name, str) or not NAME.fullmatch(name) or name in self._seen:
                raise MalformedMessage("no name, or one that is taken")
            if len(self._seen) >= self._clients_max:
                raise MalformedMessage("one client too many")
            self._seen[name] = seen
        try:
            yield name
        finally:
            with self._changed:
                self._gone += 1
                self._changed.notify_all()

    def note(self, name: str, seen: Any) -> None:
        """Write down what has been seen of a client by now."""
        with self._changed:
            self._seen[name] = seen

    def once_gone(self, count: int) -> dict[str, Any]:
        """Wait until `count` clients are gone, and return what was seen of all."""
        with self._changed:
            self._changed.wait_for(lambda: self._gone >= count)
            return dict(self._seen)


# The three servers


def broker(worker: Worker) -> int:
    """Introduce renderers to gpu and network, and see how they end; export `reload` when the first has vanished."""
    first = threading.Lock()

    def reload() -> None:
        if worker.address is not None and first.acquire(blocking=False):
            worker.export("reload", worker.address)

    others = (worker.imports["gpu"], worker.imports["network"])
    ledger = Ledger()
    return serve_until_stopped(worker, lambda connection: introduce(worker.imc, connection, others, ledger, reload))


def introduce(
    imc: Imc,
    connection: ConnectedSocket,
    others: tuple[SocketAddress, SocketAddress],
    ledger: Ledger,
    vanished: Callable[[], None],
) -> None:
    """Introduce one renderer to `others` (borrowed), and wait for its end; or answer the auditor."""
    heard = without_descriptors(hear(imc, connection))
    if heard.kind == "audit":
        answer_audit(imc, connection, heard.body, ledger)
        return
    with ledger.client(heard.body, VANISHED) as name:
        try:
            say(imc, connection, "meet", ["gpu", "network"], *others)
            left = without_descriptors(hear(imc, connection)).kind == "leave"
        except ImcError:
            left = False
        if left:
            ledger.note(name, LEFT)
        else:
            vanished()


def network(worker: Worker) -> int:
    """Have a page for every URL."""
    ledger = Ledger()
    return serve_until_stopped(worker, lambda connection: fetch(worker.imc, connection, ledger))


def fetch(imc: Imc, connection: ConnectedSocket, ledger: Ledger) -> None:
    """Send the page that one client asks for; or answer the auditor."""
    heard = without_descriptors(hear(imc, connection))
    if heard.kind == "audit":
        answer_audit(imc, connection, heard.body, ledger)
        return
    with ledger.client(heard.body, PAGE_BYTES) as url, memory_of(imc, page_of(url)) as memory:
        say(imc, connection, "page", PAGE_BYTES, memory)


def gpu(worker: Worker) -> int:
    """Draw the frames that are what their hashes say."""
    ledger = Ledger()
    return serve_until_stopped(worker, lambda connection: draw_all(worker.imc, connection, ledger))


def draw_all(imc: Imc, connection: ConnectedSocket, ledger: Ledger) -> None:
    """Draw the frames of one renderer, in their order and without a gap, until it ends; or answer the auditor."""
    heard = hear(imc, connection)
    if heard.kind == "audit":
        answer_audit(imc, connection, without_descriptors(heard).body, ledger)
        return
    film = hashlib.sha256()
    with ledger.client(told(heard).get("renderer"), [0, film.hexdigest()]) as name:
        for number in itertools.count():
            told_now = told(heard)
            frame = data_of(heard.descriptors, told_now.get("bytes"), FRAME_BYTES)
            digest = hashlib.sha256(frame)
            drawn = told_now == {"renderer": name, "frame": number, "bytes": len(frame), "sha256": digest.hexdigest()}
            if drawn:
                film.update(digest.digest())
                ledger.note(name, [number + 1, film.hexdigest()])
            say(imc, connection, "drawn", drawn)
            if not drawn:
                return
            heard = hear(imc, connection)


def told(heard: Heard) -> dict[str, Any]:
    """Return the body of a `draw`. Raises MalformedMessage for anything else, its descriptors closed."""
    if heard.kind != "draw" or not isinstance(heard.body, dict):
        close_all(heard.descriptors)
        raise MalformedMessage(f"no frame but {heard.kind!r}")
    return heard.body


def without_descriptors(heard: Heard) -> Heard:
    """Close what nobody asked for."""
    close_all(heard.descriptors)
    return heard


def answer_audit(imc: Imc, connection: ConnectedSocket, gone: object, ledger: Ledger) -> None:
    """Send the ledger once so many clients are gone. Raises MalformedMessage for what is no number."""
    if not isinstance(gone, int):
        raise MalformedMessage("an audit without a number")
    say(imc, connection, "ledger", ledger.once_gone(gone))


# Their clients


def renderer(worker: Worker) -> int:
    """Fetch a page and have args.frames frames of it drawn, or frames without end.

    Crashes in the middle of frame args.crash_at: it was sent, and nobody waits for the answer any more.
    """
    imc = worker.imc
    with imc.imc_connect(worker.imports["broker"]) as broker_:
        say(imc, broker_, "come", worker.name)
        gpu_address, network_address = introduced(hear(imc, broker_))
        with imc.imc_connect(network_address) as network_:
            say(imc, network_, "get", worker.name)
            _, length, descriptors = hear(imc, network_)
            page = data_of(descriptors, length, PAGE_BYTES)
        with imc.imc_connect(gpu_address) as gpu_:
            frames = worker.args.get("frames")
            for number in itertools.count() if frames is None else range(frames):
                show(imc, gpu_, worker.name, number, frame_of(page, number))
                if number == worker.args.get("crash_at"):
                    crash()
                if hear(imc, gpu_).body is not True:
                    return 1
                if number == 0:
                    worker.report("at_work", value=True)
        say(imc, broker_, "leave", worker.name)
    return 0


def introduced(heard: Heard) -> tuple[SocketAddress, SocketAddress]:
    """Return the addresses of gpu and network that the broker sent. Raises MalformedMessage where it sent others."""
    match heard:
        case Heard("meet", _, (SocketAddress() as gpu_, SocketAddress() as network_)):
            return gpu_, network_
        case _:
            raise MalformedMessage("no introduction")


def show(imc: Imc, connection: ConnectedSocket, name: str, number: int, frame: bytes) -> None:
    """Send one frame to the gpu."""
    sha256 = hashlib.sha256(frame).hexdigest()
    with memory_of(imc, frame) as memory:
        body = {"renderer": name, "frame": number, "bytes": len(frame), "sha256": sha256}
        say(imc, connection, "draw", body, memory)


def crash() -> None:
    """Die of SIGABRT, and leave no core file behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.abort()


def auditor(worker: Worker) -> int:
    """Report what the servers have seen of args.clients renderers, and whether all frames were the right ones."""
    clients = worker.args["clients"]
    drawn = audited(worker, "gpu", clients)
    worker.report("ends", audited(worker, "broker", clients))
    worker.report("pages", audited(worker, "network", clients))
    worker.report("frames", {name: frames for name, (frames, _) in drawn.items()})
    right = all(
        film == film_of(frame_of(page_of(name), number) for number in range(frames))
        for name, (frames, film) in drawn.items()
    )
    worker.report("right", right)
    return int(not right)


def audited(worker: Worker, server: str, clients: int) -> Mapping[str, Any]:
    """Return the ledger of `server`, once so many clients are gone."""
    with worker.imc.imc_connect(worker.imports[server]) as connection:
        say(worker.imc, connection, "audit", clients)
        ledger: Mapping[str, Any] = hear(worker.imc, connection).body
        return ledger
