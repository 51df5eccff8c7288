"""What a worker program sees: `def main(worker): …`, whose return value is the exit status.

    worker.imc             the seven imc_* calls, in the worker's protocol
    worker.bound_socket    descriptor 3, or None where it was started without a service port
    worker.address         descriptor 4, its SocketAddress, or None
    worker.imports[name]   the SocketAddresses that it was granted, from descriptor 6 on
    worker.args            what the topology says under `args`
    worker.report(k, v)    a fact for the outcome
    worker.log(text)       a line on stderr

Nothing else is there: no path, no port, no environment but what the topology gives.
"""

import errno
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox import control
from sandbox.abi import CONTROL_CHANNEL, FIRST_IMPORT, SERVICE_PORT, SERVICE_PORT_ADDRESS
from sandbox.descriptors import BoundSocket, ConnectedSocket, SocketAddress
from sandbox.errors import EndOfStream, ImcError
from sandbox.imc import Imc


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker's own view of the world."""

    name: str
    imc: Imc
    bound_socket: BoundSocket | None
    address: SocketAddress | None
    imports: Mapping[str, SocketAddress]
    args: Mapping[str, Any]
    control_channel: ConnectedSocket = field(repr=False)

    @classmethod
    def adopt(cls, manifest: Mapping[str, Any]) -> "Worker":
        """Adopt the descriptors that are in place, as `manifest` (the supervisor's) tells of them."""
        has_port = manifest["service_port"] != "none"
        bound_socket = BoundSocket(SERVICE_PORT) if has_port else None
        return cls(
            name=manifest["name"],
            imc=Imc(manifest["protocol"], global_fd=bound_socket),
            bound_socket=bound_socket,
            address=SocketAddress(SERVICE_PORT_ADDRESS) if has_port else None,
            imports={name: SocketAddress(fd) for fd, name in enumerate(manifest["imports"], FIRST_IMPORT)},
            args=manifest["args"],
            control_channel=ConnectedSocket(CONTROL_CHANNEL),
        )

    def export(self) -> None:
        """Send the address over the control channel, as `sel_ldr -X 5` does: no data, one descriptor."""
        assert self.address is not None  # noqa: S101 - the manifest says exported
        self.imc.imc_sendmsg(self.control_channel, b"", (self.address,))

    def announce(self) -> None:
        """Tell the supervisor that the program is about to run."""
        self._send(control.ANNOUNCE, "ready")

    def report(self, key: str, value: object) -> None:
        """Tell the supervisor a fact, which the outcome will show. Raises TypeError where it is no JSON, ImcError."""
        self._send(control.REPORT, {"key": key, "value": value})

    def log(self, text: str) -> None:
        """Write a line to stderr, which the supervisor keeps."""
        sys.stderr.write(f"{text}\n")

    def next_step(self) -> dict[str, Any] | None:
        """Wait for the scenario's next step, or None at its end. `answer` it before asking for another."""
        while True:
            try:
                message = self.imc.imc_recvmsg(self.control_channel)
            except EndOfStream:
                return None
            except ImcError as error:
                # The supervisor left something of ours unread; what it said before comes now.
                if error.errno != errno.ECONNRESET:
                    raise
            else:
                _, step = control.decode(message.data)
                return dict(step)

    def answer(self, result: Mapping[str, Any]) -> None:
        """Say how the step went."""
        self._send(control.RESULT, result)

    def _send(self, kind: str, body: object) -> None:
        self.imc.imc_sendmsg(self.control_channel, control.encode(kind, body))
