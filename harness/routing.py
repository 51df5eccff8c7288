"""Service ports and who is granted their addresses.

The supervisor makes every service port before the first fork, so that the order of starting does not matter and two
workers may be granted to each other. It keeps no BoundSocket once its worker has it, and no address once the last
importer has it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.plan import NONE, WorkerPlan
from sandbox.abi import SERVICE_PORT, SERVICE_PORT_ADDRESS
from sandbox.descriptors import BoundSocket, SocketAddress
from sandbox.imc import Imc


@dataclass(frozen=True, slots=True)
class Port:
    """A worker's service port. `identity` is what all duplicates of its address have in common."""

    bound: BoundSocket
    address: SocketAddress
    identity: str

    def close(self) -> None:
        """Close what is still here."""
        self.bound.close()
        self.address.close()


def make_ports(workers: Iterable[WorkerPlan]) -> dict[str, Port]:
    """Return a service port for each worker that has one, by its name; the caller closes them. Raises ImcError."""
    ports: dict[str, Port] = {}
    try:
        for worker in workers:
            if worker.service_port != NONE:
                bound, address = Imc(worker.protocol).imc_makeboundsock()
                ports[worker.name] = Port(bound, address, address.identity())
    except BaseException:
        for port in ports.values():
            port.close()
        raise
    return ports


def granted(worker: WorkerPlan, ports: Mapping[str, Port]) -> dict[int, int]:
    """Return the part of the worker's descriptor table that routing decides: number → fd (borrowed)."""
    table = {grant.number: ports[grant.exporter].address.fileno() for grant in worker.grants}
    if worker.name in ports:
        port = ports[worker.name]
        table |= {SERVICE_PORT: port.bound.fileno(), SERVICE_PORT_ADDRESS: port.address.fileno()}
    return table
