"""A name service: a worker that keeps SocketAddresses under names, itself reached by nothing but a granted one.

A client connects and sends requests; each is answered by one message whose data begins with a code, in decimal:

    insert NAME, one SocketAddress    0
    lookup NAME                       0 and the SocketAddress
    delete NAME                       0
    list                              0, then each name on a line of its own, sorted

The codes are Native Client's (nacl_name_service.h). A name may be deleted by the connection that inserted it, and by
others once that one is gone: until then they are denied.
"""

import os
import re
import threading
from typing import Final

from sandbox.abi import USER_BYTES_MAX
from sandbox.descriptors import INVALID, ConnectedSocket, Descriptor, SocketAddress
from sandbox.errors import EndOfStream, ImcError
from sandbox.imc import Imc
from sandbox.programs.server import CONNECTIONS_MAX, has_hung_up, serve_until_stopped
from sandbox.worker import Worker

SUCCESS: Final = 0
NAME_NOT_FOUND: Final = 1
DUPLICATE_NAME: Final = 2
INSUFFICIENT_RESOURCES: Final = 3
PERMISSION_DENIED: Final = 4
INVALID_ARGUMENT: Final = 5

NAME: Final = re.compile(rb"[!-~]{1,128}")
# No request is longer, and no answer has more than one descriptor.
REQUEST_BYTES: Final = 256
NAMES_MAX: Final = 512

Answer = tuple[int, bytes, SocketAddress | None]


def main(worker: Worker) -> int:
    """Serve until the supervisor closes the control channel. Arguments: max_names, max_connections."""
    service = NameService(int(worker.args.get("max_names", NAMES_MAX)))
    connections_max = int(worker.args.get("max_connections", CONNECTIONS_MAX))
    return serve_until_stopped(worker, lambda connection: serve(worker.imc, connection, service), connections_max)


def serve(imc: Imc, connection: ConnectedSocket, service: "NameService") -> None:
    """Answer the requests of one connection until it ends."""
    try:
        while True:
            try:
                message = imc.imc_recvmsg(connection, REQUEST_BYTES)
            except EndOfStream:
                return
            except ImcError:
                imc.imc_sendmsg(connection, b"%d" % INVALID_ARGUMENT)
                continue
            code, data, address = service.answer(connection, message.data, message.descriptors, message.flags)
            with address or INVALID:
                imc.imc_sendmsg(connection, b"%d" % code + data, () if address is None else (address,))
    finally:
        service.forget(connection)


class NameService:
    """The names, each with its address and the connection that inserted it."""

    def __init__(self, max_names: int = NAMES_MAX) -> None:
        self._max_names = max_names
        self._lock = threading.Lock()
        self._entries: dict[bytes, tuple[SocketAddress, ConnectedSocket | None]] = {}

    def answer(self, client: ConnectedSocket, data: bytes, descriptors: tuple[Descriptor, ...], flags: int) -> Answer:
        """Return the code, the data behind it, and an address, the caller's. Takes over `descriptors`."""
        word, _, name = data.partition(b" ")
        kept, deleted = False, tuple[SocketAddress, ...]()
        try:
            with self._lock:
                match word, descriptors:
                    case _ if flags or (word != b"list" and not NAME.fullmatch(name)):
                        return INVALID_ARGUMENT, b"", None
                    case b"insert", (SocketAddress() as address,):
                        code = self._insert(name, address, client)
                        kept = code == SUCCESS
                        return code, b"", None
                    case b"lookup", ():
                        return self._lookup(name)
                    case b"delete", ():
                        code, deleted = self._delete(name, client)
                        return code, b"", None
                    case b"list", () if data == b"list":
                        return self._list()
                    case _:
                        return INVALID_ARGUMENT, b"", None
        finally:
            # What a stranger sent may take its time to be closed: nobody else is to wait for that.
            for descriptor in (*deleted, *(() if kept else descriptors)):
                descriptor.close()

    def _lookup(self, name: bytes) -> Answer:
        if name not in self._entries:
            return NAME_NOT_FOUND, b"", None
        try:
            # A descriptor of its own, for another thread may delete the name before the answer is sent.
            return SUCCESS, b"", SocketAddress(os.dup(self._entries[name][0].fileno()))
        except OSError:
            return INSUFFICIENT_RESOURCES, b"", None

    def _list(self) -> Answer:
        names = b"".join(b"\n" + name for name in sorted(self._entries))
        if len(names) >= USER_BYTES_MAX:
            return INSUFFICIENT_RESOURCES, b"", None
        return SUCCESS, names, None

    def _insert(self, name: bytes, address: SocketAddress, client: ConnectedSocket) -> int:
        if name in self._entries:
            return DUPLICATE_NAME
        if len(self._entries) >= self._max_names:
            return INSUFFICIENT_RESOURCES
        self._entries[name] = (address, client)
        return SUCCESS

    def _delete(self, name: bytes, client: ConnectedSocket) -> tuple[int, tuple[SocketAddress, ...]]:
        """Return the code, and the address that nobody holds here any more, for the caller to close."""
        if name not in self._entries:
            return NAME_NOT_FOUND, ()
        address, owner = self._entries[name]
        if owner is not None and owner is not client and not has_hung_up(owner):
            return PERMISSION_DENIED, ()
        del self._entries[name]
        return SUCCESS, (address,)

    def forget(self, client: ConnectedSocket) -> None:
        """Leave what this connection inserted to whoever is still there."""
        with self._lock:
            for name, (address, owner) in self._entries.items():
                if owner is client:
                    self._entries[name] = (address, None)


class NameServiceClient:
    """The other half, for Python workers. Every call returns a code, and what was asked for."""

    def __init__(self, imc: Imc, address: SocketAddress) -> None:
        """Connect to the name service at `address` (borrowed). Raises ImcError."""
        self._imc = imc
        self._connection = imc.imc_connect(address)

    def insert(self, name: str, address: SocketAddress) -> int:
        """Offer `address` (borrowed) under `name`."""
        return self._ask(f"insert {name}", address)[0]

    def lookup(self, name: str) -> tuple[int, SocketAddress | None]:
        """Return the address that lies under `name`, owned by the caller."""
        code, _, address = self._ask(f"lookup {name}")
        return code, address

    def delete(self, name: str) -> int:
        """Remove what lies under `name`."""
        return self._ask(f"delete {name}")[0]

    def names(self) -> tuple[int, list[str]]:
        """Return all names."""
        code, lines, _ = self._ask("list")
        return code, lines

    def close(self) -> None:
        """Leave."""
        self._connection.close()

    def _ask(self, request: str, *addresses: SocketAddress) -> tuple[int, list[str], SocketAddress | None]:
        self._imc.imc_sendmsg(self._connection, request.encode(), addresses)
        message = self._imc.imc_recvmsg(self._connection)
        code, *lines = message.data.decode().split("\n")
        address = next((held for held in message.descriptors if isinstance(held, SocketAddress)), None)
        return int(code), lines, address
