"""A browser in small: renderers that may crash, and the processes that have to outlive them.

    renderer ── come NAME ──────────────────────────> broker    meet, a pass, and the SocketAddresses of gpu and network
             ── get PASS, URL ──────────────────────> network   page, in SharedMemory
             ── draw PASS, a frame in SharedMemory ─> gpu       drawn, whether it is what its SHA-256 says
             ── leave ──────────────────────────────> broker    nothing; who ends without it has vanished

A renderer is granted the broker and nothing else. When one has vanished, the broker exports its address once more, as
`reload`, for a renderer that waits for that. Each server keeps a ledger of its clients; `audit N` is answered with it
once N of them are gone. The auditor reads all three, and computes in plain Python what the frames should have been.

A client is who its pass says (`passes.py`), and no pass counts twice. Its name is for the reader of the ledger, so
nobody loses anything where another has called itself the same. One that breaks the rules is out: its connection ends.

What a hostile renderer could still do: hold so many connections that there is none left for others, as long as it does
(nothing tells the broker who is at the other end of its address); come and go until the ledgers have forgotten who went
before it, or have counted as many as the auditor waits for, and so spoil the audit; shut down the addresses that the
broker passed on, which all renderers share (ARCHITECTURE.md says why).
"""

import hashlib
import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sandbox.descriptors import ConnectedSocket, SocketAddress
from sandbox.errors import ImcError, MalformedMessage
from sandbox.imc import Imc
from sandbox.programs.ledger import Ledger
from sandbox.programs.messages import Heard, close_all, data_of, hear, memory_of, say
from sandbox.programs.passes import NAME, Client, Passes
from sandbox.programs.server import serve_until_stopped
from sandbox.worker import Worker

PAGE_BYTES: Final = 100_000
FRAME_BYTES: Final = 256 * 1024

# What the channels are called over which the broker tells the others how to read its passes.
GPU_KEY: Final = "gpu_key"
NETWORK_KEY: Final = "network_key"

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


# The three servers


def broker(worker: Worker) -> int:
    """Introduce renderers to gpu and network, and see how they end; export `reload` when the first has vanished."""
    first = threading.Lock()

    def reload() -> None:
        if worker.address is not None and first.acquire(blocking=False):
            worker.export("reload", worker.address)

    others = (worker.imports["gpu"], worker.imports["network"])
    reception = Reception(Passes.shared(worker.imc, worker.inherited[GPU_KEY], worker.inherited[NETWORK_KEY]))
    return serve_until_stopped(worker, lambda connection: introduce(worker.imc, connection, others, reception, reload))


class Reception:
    """The broker's ledger, and the passes that it writes."""

    def __init__(self, passes: Passes, ledger: Ledger | None = None) -> None:
        self.passes = passes
        self.ledger = ledger or Ledger()
        self._numbers = itertools.count(1)

    def receive(self, name: object) -> Client:
        """Return a client that is like no other, called `name`. Raises MalformedMessage for what is no name."""
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise MalformedMessage("no name")
        return Client(next(self._numbers), name)


def introduce(
    imc: Imc,
    connection: ConnectedSocket,
    others: tuple[SocketAddress, SocketAddress],
    reception: Reception,
    vanished: Callable[[], None],
) -> None:
    """Introduce one renderer to `others` (borrowed), and wait for its end; or answer the auditor."""
    heard = without_descriptors(hear(imc, connection))
    if heard.kind == "audit":
        answer_audit(imc, connection, heard.body, reception.ledger)
        return
    client = reception.receive(heard.body)
    with reception.ledger.client(client, VANISHED):
        try:
            say(imc, connection, "meet", reception.passes.write(client), *others)
            left = without_descriptors(hear(imc, connection)).kind == "leave"
        except ImcError:
            left = False
        if left:
            reception.ledger.note(client, LEFT)
        else:
            vanished()


def network(worker: Worker) -> int:
    """Have a page for every URL."""
    ledger, passes = Ledger(), Passes.learned(worker.imc, worker.inherited[NETWORK_KEY])
    return serve_until_stopped(worker, lambda connection: fetch(worker.imc, connection, ledger, passes))


def fetch(imc: Imc, connection: ConnectedSocket, ledger: Ledger, passes: Passes) -> None:
    """Send the page that one client asks for; or answer the auditor."""
    heard = without_descriptors(hear(imc, connection))
    match heard.kind, heard.body:
        case "audit", gone:
            answer_audit(imc, connection, gone, ledger)
        case "get", {"pass": shown, "url": str(url)} if NAME.fullmatch(url):
            with ledger.client(passes.read(shown), PAGE_BYTES), memory_of(imc, page_of(url)) as memory:
                say(imc, connection, "page", PAGE_BYTES, memory)
        case kind, _:
            raise MalformedMessage(f"no URL but {kind!r}")


def gpu(worker: Worker) -> int:
    """Draw the frames that are what their hashes say."""
    ledger, passes = Ledger(), Passes.learned(worker.imc, worker.inherited[GPU_KEY])
    return serve_until_stopped(worker, lambda connection: draw_all(worker.imc, connection, ledger, passes))


def draw_all(imc: Imc, connection: ConnectedSocket, ledger: Ledger, passes: Passes) -> None:
    """Draw the frames of one renderer, in their order and without a gap, until it ends; or answer the auditor."""
    heard = hear(imc, connection)
    if heard.kind == "audit":
        answer_audit(imc, connection, without_descriptors(heard).body, ledger)
        return
    film = hashlib.sha256()
    shown = told(heard).get("pass")
    try:
        client = passes.read(shown)
        with ledger.client(client, [0, film.hexdigest()]):
            for number in itertools.count():
                told_now = told(heard)
                frame = data_of(heard.descriptors, told_now.get("bytes"), FRAME_BYTES)
                digest = hashlib.sha256(frame)
                drawn = told_now == {"pass": shown, "frame": number, "bytes": len(frame), "sha256": digest.hexdigest()}
                if drawn:
                    film.update(digest.digest())
                    ledger.note(client, [number + 1, film.hexdigest()])
                say(imc, connection, "drawn", drawn)
                if not drawn:
                    return
                heard = hear(imc, connection)
    finally:
        close_all(heard.descriptors)


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
    """Send the ledger once so many clients are gone. Raises as `once_gone` does."""
    say(imc, connection, "ledger", ledger.once_gone(gone, connection))


# Their clients


def renderer(worker: Worker) -> int:
    """Fetch a page and have args.frames frames of it drawn, or frames without end.

    Crashes in the middle of frame args.crash_at: it was sent, and nobody waits for the answer any more.
    """
    imc = worker.imc
    with imc.imc_connect(worker.imports["broker"]) as broker_:
        say(imc, broker_, "come", worker.name)
        shown, gpu_address, network_address = introduced(hear(imc, broker_))
        with imc.imc_connect(network_address) as network_:
            say(imc, network_, "get", {"pass": shown, "url": worker.name})
            _, length, descriptors = hear(imc, network_)
            page = data_of(descriptors, length, PAGE_BYTES)
        with imc.imc_connect(gpu_address) as gpu_:
            frames = worker.args.get("frames")
            for number in itertools.count() if frames is None else range(frames):
                show(imc, gpu_, shown, number, frame_of(page, number))
                if number == worker.args.get("crash_at"):
                    crash()
                if hear(imc, gpu_).body is not True:
                    return 1
                if number == 0:
                    worker.report("at_work", value=True)
        say(imc, broker_, "leave", None)
    return 0


def introduced(heard: Heard) -> tuple[str, SocketAddress, SocketAddress]:
    """Return the pass that the broker sent, and the addresses of gpu and network. Raises MalformedMessage."""
    match heard:
        case Heard("meet", str(shown), (SocketAddress() as gpu_, SocketAddress() as network_)):
            return shown, gpu_, network_
        case _:
            raise MalformedMessage("no introduction")


def show(imc: Imc, connection: ConnectedSocket, shown: str, number: int, frame: bytes) -> None:
    """Send one frame to the gpu, with the pass that is shown to it."""
    sha256 = hashlib.sha256(frame).hexdigest()
    with memory_of(imc, frame) as memory:
        body = {"pass": shown, "frame": number, "bytes": len(frame), "sha256": sha256}
        say(imc, connection, "draw", body, memory)


def crash() -> None:
    """Die of SIGABRT."""
    os.abort()


def auditor(worker: Worker) -> int:
    """Report what the servers have seen of args.clients renderers, and whether all frames were the right ones."""
    clients = worker.args["clients"]
    drawn = audited(worker, "gpu", clients)
    worker.report("ends", audited(worker, "broker", clients))
    worker.report("pages", audited(worker, "network", clients))
    worker.report("frames", {title: frames for title, (frames, _) in drawn.items()})
    right = all(
        film == film_of(frame_of(page_of(title.partition(" ")[0]), number) for number in range(frames))
        for title, (frames, film) in drawn.items()
    )
    worker.report("right", right)
    return int(not right)


def audited(worker: Worker, server: str, clients: int) -> dict[str, Any]:
    """Return what `server` has seen, once so many clients are gone, under the names of all clients."""
    with worker.imc.imc_connect(worker.imports[server]) as connection:
        say(worker.imc, connection, "audit", clients)
        return by_name(hear(worker.imc, connection).body)


def by_name(ledger: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """Return what was seen of each; where several have one name, their numbers go with it."""
    times = Counter(name for name, _ in ledger.values())
    return {name if times[name] == 1 else f"{name} ({number})": seen for number, (name, seen) in ledger.items()}
