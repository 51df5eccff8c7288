"""Who holds which descriptor when: service ports, channels, files, grants early and late.

The supervisor makes every service port before the first fork, so that the order of starting does not matter and two
workers may be granted to each other. What a worker starts with is closed here once it has it; an address, once the last
importer has it. What is kept are the ways from facets to the addresses that they stand for (`facets.py`).
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from harness import events
from harness.facets import Facet, Forwarder, Hangups, Way
from harness.journal import Journal
from harness.plan import MAIN, NONE, ChannelEnd, Grant, HostFilePlan, Own, Plan, Slot, WorkerPlan
from harness.undertaker import Undertaker
from sandbox.descriptors import BoundSocket, Descriptor, SocketAddress
from sandbox.imc import Imc
from sandbox.transport import seqpacket_pair

MODES: Final = {"r": os.O_RDONLY, "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "rw": os.O_RDWR}

Address = tuple[str, str]


class Routing:
    """The grants of one run.

    `deliver(importer, name, address)` passes an address on, and owns it; `refused(facet, sender, text)` hears of each
    connect message that a facet did not let through, and decides, as `facets.Forwarder` has it.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        undertaker: Undertaker,
        deliver: Callable[[str, str, SocketAddress], None],
        refused: Callable[[Facet, int, str], bool],
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._undertaker = undertaker
        self._deliver = deliver
        self._refused = refused
        self._tables: dict[str, dict[int, Descriptor]] = {name: {} for name in plan.workers}
        self._bounds: dict[str, BoundSocket] = {}
        # Addresses that are here to be granted, until they have been.
        self._addresses: dict[Address, SocketAddress] = {}
        self._channels: list[tuple[Descriptor, Descriptor]] = []
        self._forwarders: dict[Address, Forwarder] = {}
        self._hangups: Hangups | None = None
        self._exported: set[Address] = set()
        self._revoked: set[tuple[str, Address]] = set()
        self._minted: set[tuple[str, Grant]] = set()
        # The identities of the supervisor's own sockets, and of their other ends.
        self._ours: set[str] = set()
        self._edges: dict[Address, list[tuple[str, Grant]]] = {}
        for importer, grant in plan.edges():
            self._edges.setdefault((grant.exporter, grant.export), []).append((importer, grant))

    # At the start

    def prepare(self) -> None:
        """Make all that the workers will start with. Raises OSError; `close` closes what was made."""
        self._hangups = Hangups()
        workers = self._plan.workers.values()
        for worker in workers:
            if worker.service_port != NONE:
                self._make_port(worker)
        for _ in range(self._plan.channels):
            left, right = seqpacket_pair()
            self._channels.append((Descriptor(left), Descriptor(right)))
        for worker in workers:
            for slot in worker.slots:
                if not isinstance(slot.origin, Own) or slot.origin in (Own.SERVICE_PORT, Own.ADDRESS):
                    self._tables[worker.name][slot.number] = self._descriptor(worker.name, slot)

    def _make_port(self, worker: WorkerPlan) -> None:
        bound, address = Imc(worker.protocol).imc_makeboundsock()
        self._bounds[worker.name] = bound
        self._addresses[worker.name, MAIN] = address
        self._journal.add(events.ServicePortMade, worker=worker.name, identity=address.identity())
        self._open_way((worker.name, MAIN), address)

    def _descriptor(self, worker: str, slot: Slot) -> Descriptor:
        """Return what lies at this number of the worker's table. Raises OSError."""
        match slot.origin:
            case Own.SERVICE_PORT:
                return self._bounds.pop(worker)
            case HostFilePlan(path, mode):
                return host_file(path, mode)
            case ChannelEnd(channel, end):
                return self._channels[channel][end]
            case Grant() as grant:
                return self._granted(worker, grant)
            case _:
                return duplicate(self._addresses[worker, MAIN])

    def table(self, worker: str) -> Mapping[int, int]:
        """Return the part of the worker's descriptor table that routing decides: number → fd (borrowed)."""
        return {number: descriptor.fileno() for number, descriptor in self._tables[worker].items()}

    def started(self, worker: str) -> None:
        """Close what this worker has now."""
        for descriptor in self._tables[worker].values():
            descriptor.close()

    def all_started(self) -> None:
        """Pass on what is granted by messages already; no address is needed any more."""
        for worker in self._plan.workers.values():
            for grant in worker.late:
                if (grant.exporter, grant.export) in self._addresses:
                    self._exported.add((grant.exporter, grant.export))
                    self._deliver(worker.name, grant.name, self._granted(worker.name, grant))
        for address in self._addresses.values():
            address.close()
        self._addresses.clear()

    # While it runs

    def keep_out(self, identity: str) -> None:
        """Let the socket of this identity, the supervisor's own, travel neither as connection nor as export."""
        self._ours.add(identity)

    def exported(self, worker: str, export: str, address: SocketAddress) -> None:
        """Grant an address (borrowed) that a worker exports now to all that a route grants it to.

        Where that may not or cannot be they get a dead one. The exporter is not to blame: it may have the address from
        another, who knew what it is, or holds it still, and has done to it what cannot be seen. Raises OSError.
        """
        source = worker, export
        self._exported.add(source)
        # A facet leads to whatever was exported last; an address stays what it is.
        waiting = [edge for edge in self._edges.get(source, ()) if edge not in self._minted]
        try:
            granted = self._all_granted(source, waiting, address)
        except OSError as error:
            self._lost(source, error.strerror or "")
            granted = self._all_dead(source, waiting)
        for (importer, grant), given in zip(waiting, granted, strict=True):
            self._deliver(importer, grant.name, given)

    def _all_granted(
        self, source: Address, waiting: Iterable[tuple[str, Grant]], address: SocketAddress
    ) -> list[SocketAddress]:
        """Return what each of those who wait is given for `address` (borrowed), owned by the caller. Raises OSError."""
        self._require_way_on(source, address.identity())
        with ExitStack() as held:
            copy = held.enter_context(duplicate(address))
            self._open_way(source, copy)
            self._addresses[source] = copy
            try:
                granted = [held.enter_context(self._granted(importer, grant)) for importer, grant in waiting]
            finally:
                del self._addresses[source]
            held.pop_all()
            copy.close()
        return granted

    def _all_dead(self, source: Address, waiting: Iterable[object]) -> list[SocketAddress]:
        """Return for each of those who wait an address at which nobody is, owned by the caller. Raises OSError."""
        if source in self._forwarders:
            self._forwarders[source].close()
        with dead_address(self._plan.workers[source[0]].protocol) as dead:
            return [duplicate(dead) for _ in waiting]

    def _require_way_on(self, source: Address, identity: str) -> None:
        """Raise OSError unless the address of this identity leads out of the supervisor, through whichever facets.

        So facets of `source` may lead to it, and no connection goes round.
        """
        while identity in self._ours:
            ways = (
                (way, forwarder) for way, forwarder in self._forwarders.items() if identity in forwarder.addresses()
            )
            through, forwarder = next(ways, (None, None))
            if forwarder is None:
                raise OSError(errno.EPERM, "it is a socket of the supervisor's")
            if through == source:
                raise OSError(errno.ELOOP, "it leads to itself")
            identity = forwarder.leads_to

    def _lost(self, source: Address, why: str) -> None:
        """Tell that an address of a worker's leads nowhere any more, though the worker goes on."""
        self._journal.add(events.AddressLost, worker=source[0], name=source[1], text=why)

    def revoke(self, exporter: str, export: str, importer: str) -> None:
        """Have the facets of this address that `importer` holds, or will be granted, lead nowhere."""
        source = exporter, export
        self._revoked.add((importer, source))
        if source in self._forwarders:
            self._forwarders[source].revoke(importer)
        self._journal.add(events.AddressRevoked, worker=importer, exporter=exporter, name=export)

    def exited(self, worker: str) -> None:
        """Close the ways to a worker that was reaped, for a name does not tell that nobody is there any more.

        Who still waits for an address of its gets one at which nobody is, as if it had come before the end.
        """
        ending = [forwarder for (exporter, _), forwarder in self._forwarders.items() if exporter == worker]
        for forwarder in ending:
            addresses = forwarder.addresses()
            # With those that lead to a facet which ends, and with those that lead to one of theirs.
            ending += [other for other in self._forwarders.values() if other.leads_to in addresses]
            forwarder.close()
        for source, edges in self._edges.items():
            late = [(importer, grant) for importer, grant in edges if not grant.at_start]
            if source[0] == worker and late and source not in self._exported:
                self._exported.add(source)
                for (importer, grant), dead in zip(late, self._all_dead(source, late), strict=True):
                    self._deliver(importer, grant.name, dead)

    def ways(self) -> Iterator[Way]:
        """Yield every facet as it is now."""
        for forwarder in self._forwarders.values():
            yield from forwarder.ways()

    def close(self) -> None:
        """Close whatever is left."""
        for forwarder in self._forwarders.values():
            forwarder.close()
        if self._hangups is not None:
            self._hangups.close()
        tables = (descriptor for table in self._tables.values() for descriptor in table.values())
        ends = (end for channel in self._channels for end in channel)
        for descriptor in (*tables, *ends, *self._bounds.values(), *self._addresses.values()):
            descriptor.close()

    def _open_way(self, source: Address, address: SocketAddress) -> None:
        """Have facets of this source lead to `address` (borrowed), where a route grants any."""
        if source in self._forwarders:
            self._forwarders[source].retarget(duplicate(address))
        elif any(grant.facet for _, grant in self._edges.get(source, ())):
            assert self._hangups is not None  # noqa: S101 - nothing is exported before it is there
            protocol = self._plan.workers[source[0]].protocol
            self._forwarders[source] = Forwarder(
                protocol,
                duplicate(address),
                self._hangups,
                self._undertaker,
                self._ours,
                self._refused,
                partial(self._lost, source),
            )

    def _granted(self, importer: str, grant: Grant) -> SocketAddress:
        """Return the address that this grant gives, owned by the caller. Raises OSError."""
        source = grant.exporter, grant.export
        if not grant.facet:
            return duplicate(self._addresses[source])
        self._minted.add((importer, grant))
        if (importer, source) in self._revoked:
            return dead_address(self._plan.workers[grant.exporter].protocol)
        address = self._forwarders[source].mint(importer, grant.name)
        facts = {"worker": grant.exporter, "importer": importer, "identity": address.identity()}
        self._journal.add(events.FacetMade, **facts)
        return address


def host_file(path: Path, mode: str) -> Descriptor:
    """Return a regular file or a character device, opened for `mode`, owned by the caller. Raises OSError."""
    # What was one when the run was planned may be a FIFO by now, whose opening waits.
    descriptor = Descriptor(os.open(path, MODES[mode] | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o666))
    kind = os.fstat(descriptor.fileno()).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISCHR(kind)):
        descriptor.close()
        raise OSError(errno.ENXIO, "neither a regular file nor a character device", str(path))
    os.set_blocking(descriptor.fileno(), True)
    return descriptor


def dead_address(protocol: str) -> SocketAddress:
    """Return an address whose BoundSocket is gone, owned by the caller. Raises OSError."""
    bound, address = Imc(protocol).imc_makeboundsock()
    bound.close()
    return address


def duplicate(address: SocketAddress) -> SocketAddress:
    """Return another descriptor of the same address, owned by the caller. Raises OSError(EMFILE)."""
    return SocketAddress(os.dup(address.fileno()))
