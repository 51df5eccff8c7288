"""The company that guests are in: a sibling that is confined as they are, and one that is not and helps them."""

import contextlib
import ctypes
import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, Final

from sandbox.worker import Worker
from tests.guests.attempt import company

Answer = tuple[dict[str, Any], list[int]]

SECRET: Final = b"swordfish"
UCRED: Final = struct.Struct("3i")
# What an accomplice gives: a socket of each.
SOCKETS: Final = {
    "unix datagram": (socket.AF_UNIX, socket.SOCK_DGRAM),
    "unix stream": (socket.AF_UNIX, socket.SOCK_STREAM),
    "tcp": (socket.AF_INET, socket.SOCK_STREAM),
    "udp": (socket.AF_INET, socket.SOCK_DGRAM),
}


def victim(worker: Worker) -> None:
    """Tell every guest where the secret is that nobody else may read."""
    secret = ctypes.create_string_buffer(SECRET)
    facts = {"pid": os.getpid(), "secret_at": ctypes.addressof(secret)}
    serve(worker, lambda _want, _connection: (facts, []))


def accomplice(worker: Worker) -> None:
    """Give every guest a socket of the kind or the file that it wants, or tell it which uid it has for the host."""

    def answer(want: str, connection: socket.socket) -> Answer:
        if want == "uid":
            # It made the pair, so these are its ids.
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
            _, uid, _ = UCRED.unpack(credentials)
            return {"uid": uid}, []
        if want in SOCKETS:
            return {}, [socket.socket(*SOCKETS[want]).detach()]
        return {}, [os.open(worker.args.get(want, want), os.O_RDONLY)]

    serve(worker, answer)


def curious(worker: Worker) -> None:
    """Report which uid it has for itself, and which for the accomplice."""
    told, _ = company(worker, "accomplice", "uid")
    worker.report("uids", [os.getuid(), told["uid"]])


def serve(worker: Worker, answer: Callable[[str, socket.socket], Answer]) -> None:
    """Answer one question a connection, until the run is over."""

    def accept() -> None:
        assert worker.bound_socket is not None
        while True:
            connection = socket.socket(fileno=worker.imc.imc_accept(worker.bound_socket).take())
            # Whoever does not wait for the answer is not to keep others from theirs.
            with connection, contextlib.suppress(OSError):
                told, fds = answer(connection.recv(100).decode(), connection)
                socket.send_fds(connection, [json.dumps(told).encode()], fds)
                for fd in fds:
                    os.close(fd)

    threading.Thread(target=accept, daemon=True).start()
    worker.next_step()
