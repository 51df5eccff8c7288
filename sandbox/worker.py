"""What a worker program sees: `def main(worker): …`, whose return value is the exit status.

    worker.imc             the seven imc_* calls, in the worker's protocol
    worker.bound_socket    descriptor 3, or None where it was started without a service port
    worker.address         descriptor 4, its SocketAddress, or None
    worker.imports[name]   the SocketAddresses that it is granted; one that comes later is waited for
    worker.inherited[name] what the topology's `inherit` and `channels` gave it
    worker.args            what the topology says under `args`
    worker.export(n, a)    offers an address that the topology's routes may grant to others
    worker.report(k, v)    a fact for the outcome
    worker.refused(c, e)   what the profile kept from it, for the report
    worker.log(text)       a line on stderr

Nothing else is there: no path, no port, no environment but what the topology gives.
"""

import errno
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox import control
from sandbox.abi import CONTROL_CHANNEL, SERVICE_PORT, SERVICE_PORT_ADDRESS
from sandbox.descriptors import (
    BoundSocket,
    ConnectedSocket,
    DataOnlySocket,
    Descriptor,
    HostFile,
    SocketAddress,
)
from sandbox.errors import EndOfStream, ImcError
from sandbox.imc import Imc, Message

# What a manifest says that a descriptor is, beside the service port and its address, the control channel, and nothing.
INHERITED: Final[Mapping[str, type[Descriptor]]] = {
    kind.__name__: kind for kind in (ConnectedSocket, DataOnlySocket, HostFile)
}


class Inbox:
    """What the supervisor says, sorted: addresses by name, steps in order. Any thread may wait for either."""

    def __init__(self, imc: Imc, channel: ConnectedSocket | None) -> None:
        self.addresses: dict[str, SocketAddress] = {}
        self.steps: deque[dict[str, Any]] = deque()
        self._imc = imc
        self._channel = channel
        self._changed = threading.Condition()
        self._being_read = False

    def wait_until(self, arrived: Callable[[], bool]) -> None:
        """Receive until `arrived`. Raises EndOfStream once the supervisor says no more, ImcError."""
        with self._changed:
            while not arrived():
                if self._being_read:
                    self._changed.wait()
                else:
                    self._read()

    def _read(self) -> None:
        """Receive one message and put it where it belongs, while other threads may look at what is there."""
        self._being_read = True
        self._changed.release()
        try:
            message = self._receive()
        finally:
            self._changed.acquire()
            self._being_read = False
            self._changed.notify_all()
        if message.descriptors:
            (address,) = message.descriptors
            assert isinstance(address, SocketAddress)  # noqa: S101 - the supervisor sends nothing else
            self.addresses[message.data.decode()] = address
        else:
            self.steps.append(dict(control.decode(message.data)[1]))

    def _receive(self) -> Message:
        if self._channel is None:
            raise EndOfStream("this worker was started without a supervisor")
        while True:
            try:
                return self._imc.imc_recvmsg(self._channel)
            except ImcError as error:
                # The supervisor left something of ours unread; what it said before comes now.
                if error.errno != errno.ECONNRESET:
                    raise


class Imports(Mapping[str, SocketAddress]):
    """The addresses that a worker is granted, by name. One that was not granted yet is waited for."""

    def __init__(self, names: Iterable[str], inbox: Inbox) -> None:
        self._names = dict.fromkeys(names)
        self._inbox = inbox

    def __getitem__(self, name: str) -> SocketAddress:
        """Return the address, once it is there. Raises KeyError for what no route grants, EndOfStream."""
        if name not in self._names:
            raise KeyError(name)
        self._inbox.wait_until(lambda: name in self._inbox.addresses)
        return self._inbox.addresses[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Inherited(Mapping[str, Descriptor]):
    """What a worker was started with beside its port and its addresses, by name; each is adopted when asked for.

    So a descriptor that is not what it was said to be (sel_ldr does not look) is a failure of its use alone.
    """

    def __init__(self, entries: Iterable[tuple[int, str, str]]) -> None:
        self._entries = {name: (number, kind) for number, name, kind in entries}
        self._adopted: dict[str, Descriptor] = {}

    def __getitem__(self, name: str) -> Descriptor:
        """Return the descriptor. Raises KeyError for what there is none of, ImcError(EIO) for what is another kind."""
        if name not in self._adopted:
            number, kind = self._entries[name]
            try:
                self._adopted[name] = INHERITED[kind](number)
            except OSError as error:
                raise ImcError(errno.EIO, f"descriptor {number} is no {kind}: {error.strerror}") from error
        return self._adopted[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker's own view of the world. `control_channel` is None where there is no supervisor (imclab sel-ldr)."""

    name: str
    imc: Imc
    bound_socket: BoundSocket | None
    address: SocketAddress | None
    imports: Imports
    inherited: Mapping[str, Descriptor]
    args: Mapping[str, Any]
    control_channel: ConnectedSocket | None = field(repr=False)
    _inbox: Inbox = field(repr=False)

    @classmethod
    def adopt(cls, manifest: Mapping[str, Any]) -> "Worker":
        """Adopt the descriptors that are in place, as `manifest` (the supervisor's) tells of them."""
        kinds = {number: kind for number, _, kind in manifest["descriptors"]}
        has_port = kinds.get(SERVICE_PORT) == "BoundSocket"
        address = SocketAddress(SERVICE_PORT_ADDRESS) if has_port else None
        bound_socket = BoundSocket(SERVICE_PORT, address) if has_port else None
        channel = ConnectedSocket(CONTROL_CHANNEL) if manifest["supervised"] else None
        taken = {SERVICE_PORT, SERVICE_PORT_ADDRESS} if has_port else set()
        taken |= {CONTROL_CHANNEL} if manifest["supervised"] else set()
        others = [entry for entry in manifest["descriptors"] if entry[0] not in taken]
        imc = Imc(manifest["protocol"], manifest["layout"], global_fd=bound_socket)
        inbox = Inbox(imc, channel)
        inbox.addresses.update(
            {name: SocketAddress(number) for number, name, kind in others if kind == "SocketAddress"}
        )
        return cls(
            name=manifest["name"],
            imc=imc,
            bound_socket=bound_socket,
            address=address,
            imports=Imports([*inbox.addresses, *manifest["late"]], inbox),
            inherited=Inherited((number, name, kind) for number, name, kind in others if kind in INHERITED),
            args=manifest["args"],
            control_channel=channel,
            _inbox=inbox,
        )

    def export(self, name: str, address: SocketAddress) -> None:
        """Offer `address` (borrowed) under `name`: a topology's routes grant it as `worker.name`. Raises ImcError."""
        self._send(name.encode(), address)

    def announce(self) -> None:
        """Tell the supervisor, where there is one, that the program is about to run."""
        if self.control_channel is not None:
            self._send(control.encode(control.ANNOUNCE, "ready"))

    def report(self, key: str, value: object) -> None:
        """Tell the supervisor a fact, which the outcome will show. Raises TypeError where it is no JSON, ImcError."""
        self._send(control.encode(control.REPORT, {"key": key, "value": value}))

    def refused(self, call: str, error: OSError) -> None:
        """Tell the supervisor that `call` was refused; the report counts what each worker's profile kept from it."""
        name = errno.errorcode.get(error.errno or 0, "")
        self._send(control.encode(control.REFUSED, {"call": call, "error": name}))

    def failed(self, error: OSError | ModuleNotFoundError) -> None:
        """Tell the supervisor what ended the program, where its confinement may have: another error is told nowhere."""
        if isinstance(error, ModuleNotFoundError):
            name, path = control.NO_MODULE, error.name or ""
        elif error.errno in control.KEPT_ERRORS:
            path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else ""
            name = errno.errorcode[error.errno]
        else:
            return
        self._send(control.encode(control.FAILED, {"error": name, "path": path[: control.PATH_CHARACTERS_MAX]}))

    def log(self, text: str) -> None:
        """Write a line to stderr, which the supervisor keeps."""
        sys.stderr.write(f"{text}\n")

    def next_step(self) -> dict[str, Any] | None:
        """Wait for the scenario's next step, or None at its end. `answer` it before asking for another."""
        try:
            self._inbox.wait_until(lambda: bool(self._inbox.steps))
        except EndOfStream:
            return None
        return self._inbox.steps.popleft()

    def answer(self, result: Mapping[str, Any]) -> None:
        """Say how the step went."""
        self._send(control.encode(control.RESULT, result))

    def _send(self, data: bytes, *addresses: SocketAddress) -> None:
        if self.control_channel is None:
            raise ImcError(errno.EBADF, "this worker was started without a supervisor")
        self.imc.imc_sendmsg(self.control_channel, data, addresses)
