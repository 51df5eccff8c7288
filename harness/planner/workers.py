"""From the entries of a topology to its workers: which program, which settings, which descriptors at which number."""

import os
import shutil
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.plan import (
    EXPORTED,
    MAIN,
    NONE,
    OPEN_FILES,
    ChannelEnd,
    Grant,
    HostFilePlan,
    Limits,
    Own,
    Readiness,
    Slot,
    WorkerPlan,
)
from harness.planner.findings import Findings
from harness.planner.profiles import Profiles, denied
from harness.planner.selectors import Numbers, names_of, numbered, replica_of, texts_numbered
from harness.topology import Cell
from harness.topology.load import Location
from harness.topology.model import Topology, WorkerSettings
from sandbox.abi import (
    ADDRESS_NAME,
    BOUND_SOCKET_NAME,
    CONTROL_CHANNEL,
    CONTROL_CHANNEL_NAME,
    FIRST_IMPORT,
    SERVICE_PORT,
    SERVICE_PORT_ADDRESS,
    UNUSED_NAME,
)
from sandbox.confinement.policy import Policy
from sandbox.protocols import PROTOCOLS

READY_SECONDS: Final = 5.0
STOP_SECONDS: Final = 2.0
# What a program opens for a moment: a module that it imports, a connection, the descriptors of one message.
OPEN_FILES_BESIDES: Final = 16

MESSAGES: Final = "messages"
# What every worker calls something of its own; nothing that it is given may take the name.
RESERVED: Final = (BOUND_SOCKET_NAME, ADDRESS_NAME, CONTROL_CHANNEL_NAME, UNUSED_NAME, "INVALID")


@dataclass(frozen=True, slots=True)
class Draft:
    """A worker before routes and channels are known. `base` is its entry in the file, `whole` says that it is sound."""

    name: str
    base: str
    whole: bool
    program: str
    command: tuple[str, ...]
    protocol: str
    layout: str
    service_port: str
    by_messages: bool
    facets: bool
    requires_facets: bool
    limits: Limits
    policy: Policy
    args: Mapping[str, Any]
    env: Mapping[str, str]
    files: tuple[Slot, ...]
    ready_within: float
    stop_within: float

    @property
    def path(self) -> Location:
        """Where the file has its entry."""
        return ("workers", self.base)


def drafts_of(cell: Cell, findings: Findings) -> dict[str, Draft]:
    """Return every worker of the cell by its name, replicas in order."""
    topology = cell.topology
    profiles = Profiles(topology, cell.folder, findings)
    return {
        name: _draft(name, base, cell, profiles, findings)
        for base, entry in topology.workers.items()
        for name in names_of(base, entry.replicas)
    }


def refusals(drafts: Iterable[Draft]) -> list[str]:
    """Return why workers cannot be what the file asks for: profiles that do not fit their protocols, each once."""
    reasons: dict[tuple[str, ...], list[str]] = {}
    for draft in drafts:
        if taken := denied(draft.policy, draft.protocol):
            users = reasons.setdefault((draft.protocol, draft.policy.name, *taken), [])
            users += [draft.base] if draft.base not in users else []
    return [
        f"{protocol} needs {', '.join(taken)}, which the profile {profile} takes away ({', '.join(users)}); "
        "names leaves it that, and tightest chooses between the two"
        for (protocol, profile, *taken), users in reasons.items()
    ]


@dataclass(frozen=True, slots=True)
class Layers:
    """A worker's settings, the nearest first, each with its place in the file."""

    layers: tuple[tuple[WorkerSettings, Location], ...]

    def first(self, *keys: str) -> tuple[Any, Location]:
        """Return the nearest layer's value of one of `keys`, and its place; None where none says any."""
        for layer, path in self.layers:
            for key in keys:
                if getattr(layer, key) is not None:
                    return getattr(layer, key), (*path, key)
        return None, self.layers[0][1]

    def value(self, key: str) -> Any:
        """Return the nearest layer's value of `key`, None where none says it."""
        return self.first(key)[0]

    def merged(self, key: str) -> dict[str, Any]:
        """Return all layers' maps under `key` in one, the nearer layer's members winning."""
        merged: dict[str, Any] = {}
        for layer, _ in reversed(self.layers):
            merged = _merge(merged, getattr(layer, key))
        return merged


def _draft(name: str, base: str, cell: Cell, profiles: Profiles, findings: Findings) -> Draft:
    path = ("workers", base)
    layers, whole = _layers(base, cell.topology, findings)
    _, running = layers.first("program", "command")
    # The nearest layer that says what runs says all of it.
    program, command = _what_runs(layers, running)
    if whole:
        if program is None and command is None:
            text = f"{base} has no program: say it, or a command, here, in its kind or under defaults"
            findings.add_once(path, text)
        elif program is not None and command is not None:
            text = "a program and a command; it can be one of them"
            findings.add_once((*running[:-1], "command"), text, at_key=True)
        if layers.value("protocol") is None:
            findings.add_once(path, f"{base} has no protocol: say it here, in its kind or under defaults")
        else:
            _check_layout(layers, findings)
    told = [key for key in layers.merged("env") if key.startswith("LISTEN_")] if command else []
    if told:
        findings.add_once(path, f"{base}: {told[0]} is what imclab itself tells a command; choose another name")
    ready, stop = layers.value("ready"), layers.value("stop")
    args, env, words = layers.merged("args"), layers.merged("env"), command or ()
    numbers = replica_of(name)
    try:
        args = numbered(args, numbers)
        env = {key: str(numbered(value, numbers)) for key, value in env.items()}
        words = texts_numbered(words, numbers)
    except ValueError:
        findings.add_once(path, f"{base} has no replicas, and so no {{{{replica}}}}")
        words = ()
    return Draft(
        name=name,
        base=base,
        whole=whole,
        program=program or "",
        command=_found(words, cell.folder, (*running[:-1], "command", 0), findings) if words else (),
        protocol=layers.value("protocol") or "",
        layout=layers.value("layout") or _usual_layout(layers.value("protocol")),
        service_port=layers.value("service_port") or NONE,
        by_messages=layers.value("grants") == MESSAGES,
        facets=layers.value("facets") is not False,
        requires_facets=layers.value("facets") is True,
        limits=_limits(layers),
        policy=profiles.policy(*_confinement(layers)),
        args=args,
        env=env,
        files=_files(layers, numbers, cell, findings),
        ready_within=ready.within if ready else READY_SECONDS,
        stop_within=stop.within if stop else STOP_SECONDS,
    )


def _usual_layout(protocol: str | None) -> str:
    return PROTOCOLS[protocol].layouts[0] if protocol else ""


def _check_layout(layers: Layers, findings: Findings) -> None:
    layout, path = layers.first("layout")
    protocol = layers.value("protocol")
    layouts = PROTOCOLS[protocol].layouts
    if layout is not None and layout not in layouts:
        findings.add_once(path, f"{protocol} goes with the layout {' or '.join(layouts)}, not with {layout}")


def _confinement(layers: Layers) -> tuple[str | None, str | None, Location]:
    """Return the profile's name, the protocol that it has to fit, and where the name stands."""
    name, path = layers.first("confinement")
    return name, layers.value("protocol"), path


def _limits(layers: Layers) -> Limits:
    """Return what the nearest layer says of each limit."""

    def nearest(key: str) -> Any:
        values = (getattr(layer.limits, key) for layer, _ in layers.layers)
        return next((value for value in values if value is not None), None)

    return Limits(*map(nearest, ("address_space", "open_files", "cpu", "wall", "output")))


def _layers(base: str, topology: Topology, findings: Findings) -> tuple[Layers, bool]:
    """Return a worker's settings, and whether nothing was wrong with any of them."""
    entry = topology.workers[base]
    layers: list[tuple[WorkerSettings, Location]] = [(entry, ("workers", base))]
    whole = findings.is_whole(base, entry)
    if entry.kind in topology.kinds:
        layers.append((topology.kinds[entry.kind], ("kinds", entry.kind)))
    elif entry.kind is not None and not findings.is_damaged(("kinds", entry.kind)):
        findings.known_kind(entry.kind, topology.kinds, ("workers", base, "kind"))
        whole = False
    return Layers((*layers, (topology.defaults, ("defaults",)))), whole


def _what_runs(layers: Layers, running: Location) -> tuple[str | None, tuple[str, ...] | None]:
    """Return the program and the command of the layer at which one of them stands at `running`."""
    for layer, path in layers.layers:
        if path == running[:-1]:
            return layer.program, layer.command
    return None, None


def _found(words: Sequence[str], folder: Path, path: Location, findings: Findings) -> tuple[str, ...]:
    """Return the executable's path and the words: beside the file first, then where imclab is installed, then PATH."""
    name = words[0]
    beside = folder / name
    places = [str(beside)] if beside.exists() or "/" in name else []
    if "/" not in name:
        places += [str(Path(sys.executable).parent / name), shutil.which(name) or ""]
    for place in filter(None, places):
        if os.access(place, os.X_OK) and not Path(place).is_dir():
            return (place, *words)
    if beside.is_file():
        findings.add_once(path, f"{name!r} cannot be executed: chmod +x, or name its interpreter first")
    else:
        findings.add_once(path, f"no executable {name!r} beside the file" + ("" if "/" in name else " or on PATH"))
    return ("", *words)


def _files(layers: Layers, numbers: Numbers, cell: Cell, findings: Findings) -> tuple[Slot, ...]:
    inherited, path = layers.first("inherit")
    slots = []
    for position, inherit in enumerate(inherited or ()):
        where = (*path, position, "file")
        try:
            file = cell.folder / str(numbered(inherit.file, numbers))
        except ValueError:
            findings.add_once(where, "no replica reads this, and so there is no {{replica}}")
            continue
        problem = _unusable(file, inherit.mode)
        if problem is not None:
            findings.add_once(where, f"{inherit.file!r} beside the file: {problem}")
        name = inherit.as_ or f"descriptor_{inherit.descriptor}"
        slots.append(Slot(inherit.descriptor, name, "HostFile", HostFilePlan(file, inherit.mode)))
    return tuple(slots)


def _unusable(file: Path, mode: str) -> str | None:
    """Return why `file` cannot be opened for `mode`, as far as can be known before."""
    try:
        status = file.stat()
    except OSError as error:
        if mode == "w" and isinstance(error, FileNotFoundError) and os.access(file.parent, os.W_OK):
            return None
        return error.strerror
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISCHR(status.st_mode)):
        return "neither a regular file nor a character device"
    wanted = {"r": os.R_OK, "w": os.W_OK, "rw": os.R_OK | os.W_OK}[mode]
    return None if os.access(file, wanted) else f"it cannot be opened with mode {mode}"


def worker_plan(
    draft: Draft, grants: Iterable[Grant], ends: Iterable[Slot], exports: Iterable[str], findings: Findings
) -> WorkerPlan:
    """Return the whole plan of a worker. `exports` are those that routes grant to somebody."""
    exports = frozenset(exports)
    grants = tuple(grants)
    if not draft.command:
        ready_by = Readiness.ANNOUNCEMENT
    elif MAIN in exports and draft.service_port != EXPORTED:
        ready_by = Readiness.EXPORT
    else:
        ready_by = Readiness.START
    slots = tuple(_slots(draft, grants, ends, findings))
    needed = slots[-1].number + 1 + OPEN_FILES_BESIDES
    if needed > (draft.limits.open_files or OPEN_FILES):
        text = f"{draft.name} starts with descriptors up to {slots[-1].number}; write limits: {{open_files: {needed}}}"
        findings.add_once(draft.path, text)
    return WorkerPlan(
        name=draft.name,
        program=draft.program,
        command=draft.command,
        protocol=draft.protocol,
        layout=draft.layout,
        policy=draft.policy,
        service_port=draft.service_port,
        args=draft.args,
        env=draft.env,
        slots=slots,
        grants=grants,
        exports=(exports - {MAIN}) | ({MAIN} if draft.by_messages else frozenset()),
        limits=draft.limits,
        ready_by=ready_by,
        ready_within=draft.ready_within,
        stop_within=draft.stop_within,
    )


def _slots(draft: Draft, grants: Sequence[Grant], ends: Iterable[Slot], findings: Findings) -> list[Slot]:
    """Return the descriptor table: what has a number of its own, then the imports from 6 on in the numbers left."""
    table = {
        slot.number: slot
        for slot in (
            Slot(0, "stdin", "null device", Own.NOTHING),
            Slot(1, "stdout", "pipe", Own.STDOUT),
            Slot(2, "stderr", "pipe", Own.STDERR),
            Slot(CONTROL_CHANNEL, CONTROL_CHANNEL_NAME, "ConnectedSocket", Own.CONTROL_CHANNEL),
        )
    }
    if draft.service_port != NONE:
        table[SERVICE_PORT] = Slot(SERVICE_PORT, BOUND_SOCKET_NAME, "BoundSocket", Own.SERVICE_PORT)
        table[SERVICE_PORT_ADDRESS] = Slot(SERVICE_PORT_ADDRESS, ADDRESS_NAME, "SocketAddress", Own.ADDRESS)
    names = {grant.name for grant in grants}
    for slot in (*draft.files, *ends):
        if slot.number in table:
            other = table[slot.number].name
            findings.add_once(
                draft.path, f"{draft.name}: {slot.name!r} and {other!r} both are descriptor {slot.number}"
            )
        elif slot.name in names or slot.name in RESERVED:
            findings.add_once(draft.path, f"{draft.name}: the name {slot.name!r} is taken; choose another with as")
        table[slot.number] = slot
        names.add(slot.name)
    number = FIRST_IMPORT
    for grant in grants:
        if grant.at_start:
            while number in table:
                number += 1
            table[number] = Slot(number, grant.name, "SocketAddress", grant)
    unused = (number for number in range(max(table)) if number not in table)
    table |= {number: Slot(number, UNUSED_NAME, "null device", Own.NOTHING) for number in list(unused)}
    return [table[number] for number in sorted(table)]


def channel_end(number: int, name: str | None, kind: str, channel: int, end: int) -> Slot:
    """Return the entry of a descriptor table that is one end of a channel."""
    what = "ConnectedSocket" if kind == "connected" else "DataOnlySocket"
    return Slot(number, name or f"descriptor_{number}", what, ChannelEnd(channel, end))


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merge(under[key], over[key])
        for key in under.keys() & over.keys()
        if isinstance(under[key], dict) and isinstance(over[key], dict)
    }
    return {**under, **over, **both}
