"""Who is granted what, and what lies between whom."""

import re
from collections.abc import Mapping
from typing import Final

from harness.plan import EXPORTED, MAIN, Grant, Slot
from harness.planner.findings import Findings
from harness.planner.selectors import Selectors, index_of
from harness.planner.workers import RESERVED, Draft, channel_end
from harness.topology.load import Location
from harness.topology.model import Channel, Route, Topology
from harness.topology.values import CHANNEL_ENDS, NUMBER_MAX
from sandbox.abi import FIRST_IMPORT
from sandbox.protocols import PROTOCOLS

# More edges than these are a slip of the pen: every replica granted to every replica.
GRANTS_MAX: Final = 100_000

Address = tuple[str, str]


class Routes:
    """The grants of a cell, by who is granted them, and the exports that they are of, by who exports them."""

    def __init__(
        self, topology: Topology, drafts: Mapping[str, Draft], selectors: Selectors, findings: Findings
    ) -> None:
        self.grants: dict[str, list[Grant]] = {name: [] for name in drafts}
        self.exports: dict[str, set[str]] = {name: set() for name in drafts}
        self._drafts = drafts
        self._selectors = selectors
        self._findings = findings
        # Why routes of this cell cannot be as the file asks for.
        self.refusals: dict[str, None] = {}
        self._count = 0
        for index, route in enumerate(topology.routes):
            path = ("routes", index)
            if findings.is_damaged(path):
                for key in ("grant", "to"):
                    if (text := findings.raw(path, key)) is not None:
                        selectors.exports(text, (*path, key))
            else:
                self._take(route, path)

    def _take(self, route: Route, path: Location) -> None:
        exported = self._selectors.exports(route.grant, (*path, "grant"))
        importers = self._selectors.workers(route.to, (*path, "to"))
        if not exported or not importers:
            return
        self._count += len(exported) * (1 if route.pair else len(importers))
        if self._count > GRANTS_MAX:
            self._findings.add_once(("routes",), f"more than {GRANTS_MAX} grants")
            return
        self._check(path, exported[0], importers[0])
        if route.pair and self._pairs(route, path, exported, importers):
            for address, importer in zip(exported, importers, strict=True):
                self._grant(route, path, address, importer, route.as_)
        elif not route.pair:
            for importer in importers:
                for address in exported:
                    several = f"{route.as_}.{index_of(address[0])}" if len(exported) > 1 else route.as_
                    self._grant(route, path, address, importer, several if route.as_ else None)

    def _check(self, path: Location, address: Address, to: str) -> None:
        """Look at what is the same for all replicas."""
        exporter, importer = self._drafts[address[0]], self._drafts[to]
        if address[1] == MAIN and exporter.whole and exporter.service_port != EXPORTED and not exporter.by_messages:
            text = f"{exporter.base} exports nothing: its service_port is {exporter.service_port}, not exported"
            self._findings.add((*path, "grant"), f"{text}; or say grants: messages, if it makes its own")
        if exporter.protocol != importer.protocol and exporter.whole and importer.whole:
            text = f"{exporter.base} speaks {exporter.protocol} and {importer.base} {importer.protocol}"
            self._findings.add(path, f"{text}: an address is of use in its own protocol alone")
        elif exporter.layout != importer.layout and exporter.whole and importer.whole:
            text = f"{exporter.base} writes the layout {exporter.layout} and {importer.base} {importer.layout}"
            self._findings.add(path, f"{text}: they could not read one another")

    def _pairs(self, route: Route, path: Location, exported: list[Address], importers: list[str]) -> bool:
        """Say whether the two sides can be paired off."""
        replicated = index_of(exported[0][0]) is not None and index_of(importers[0]) is not None
        if not replicated or len(exported) != len(importers):
            text = f"{route.grant} selects {len(exported)} and {route.to} {len(importers)}"
            self._findings.add((*path, "pair"), f"{text}; pair joins as many replicas of one as of the other")
            return False
        return True

    def _grant(self, route: Route, path: Location, address: Address, to: str, name: str | None) -> None:
        exporter, importer = self._drafts[address[0]], self._drafts[to]
        # Under its own name unless said: bob, db.0, bob.extra.
        name = name or ".".join(filter(None, address))
        held = self.grants[to]
        where = (*path, "as") if route.as_ else path
        if any(grant.name == name for grant in held):
            self._findings.add_once(where, f"{importer.name} imports {name!r} already; choose another name with as")
        elif name in RESERVED:
            text = f"{name!r} is what every worker calls something of its own; choose another name with as"
            self._findings.add_once(where, text)
        # Where the kernel itself connects, there is no connect message to forward.
        can = exporter.protocol in PROTOCOLS and PROTOCOLS[exporter.protocol].connect_message is not None
        wanted = exporter.facets if route.facets is None else route.facets
        if not can and (exporter.requires_facets if route.facets is None else route.facets):
            text = f"{exporter.base} speaks {exporter.protocol}, where the kernel itself connects: there are no facets"
            self.refusals[text] = None
        held.append(
            Grant(
                name=name,
                exporter=exporter.name,
                export=address[1],
                facet=wanted and can,
                at_start=address[1] == MAIN and exporter.service_port == EXPORTED and not importer.by_messages,
            )
        )
        self.exports[exporter.name].add(address[1])


def channel_ends(
    topology: Topology, drafts: Mapping[str, Draft], selectors: Selectors, findings: Findings
) -> tuple[dict[str, list[Slot]], int]:
    """Return the ends that each worker has of the channels, and how many channels there are."""
    ends: dict[str, list[Slot]] = {name: [] for name in drafts}
    count = 0
    for index, channel in enumerate(topology.channels):
        if findings.is_damaged(("channels", index)):
            continue
        sides = [_side(channel, index, side, selectors, findings) for side in range(CHANNEL_ENDS)]
        if not all(sides):
            continue
        if len(sides[0]) != len(sides[1]):
            text = f"{channel.between[0]} selects {len(sides[0])} and {channel.between[1]} {len(sides[1])}"
            findings.add(("channels", index, "between"), f"{text}; a channel has two ends")
            continue
        one, other = (drafts[side[0][0]] for side in sides)
        if channel.kind == "connected" and one.layout != other.layout and one.whole and other.whole:
            text = f"{one.base} writes the layout {one.layout} and {other.base} {other.layout}"
            findings.add(("channels", index), f"{text}: they could not read one another (kind: data_only could)")
        for left, right in zip(*sides, strict=True):
            for end, (worker, number) in enumerate((left, right)):
                ends[worker].append(channel_end(number, channel.as_, channel.kind, count, end))
            count += 1
    return ends, count


def _side(channel: Channel, index: int, side: int, selectors: Selectors, findings: Findings) -> list[tuple[str, int]]:
    path = ("channels", index, "between", side)
    sides = []
    for worker, number in selectors.numbered(channel.between[side], path):
        if not re.fullmatch("[0-9]{1,4}", number) or not FIRST_IMPORT <= int(number) <= NUMBER_MAX:
            text = f"{number!r} is no number to choose; write {FIRST_IMPORT}..{NUMBER_MAX}"
            findings.add_once(path, text)
            return []
        sides.append((worker, int(number)))
    return sides
