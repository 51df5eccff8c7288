"""What happened in a run, one frozen fact each, in the order in which the supervisor learned it.

`at` is in seconds since the run began. A worker is told by its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact, and when the supervisor learned it."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The zygote is there. Without a PID namespace, a worker's own orphans may outlive the run."""

    pid_namespace: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePortMade(Event):
    """The supervisor made a worker's service port; `identity` is what all duplicates of its address have in common."""

    worker: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetMade(Event):
    """The supervisor made an address of its own for one grant; it leads to `worker`'s."""

    worker: str
    importer: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectRefused(Event):
    """A connect message that came over a facet of a worker's was not passed on.

    Where `text` does not say who else sent it, the worker did. Of a flood, the first few are told.
    """

    worker: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetShut(Event):
    """A facet that a worker has as `name` was shut, for a flood of connect messages that others sent over it."""

    worker: str
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressLost(Event):
    """An address that a worker exported leads nowhere: whoever waits for it, or has a facet of it, has a dead one.

    `name` is "" for the worker's own. Nobody is blamed: `text` is why, and whoever held the address may be the cause.
    """

    worker: str
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStarted(Event):
    """A worker was forked; `pid` is the host's."""

    worker: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressExported(Event):
    """A worker sent a SocketAddress over its control channel: its service port's, or one that has a name."""

    worker: str
    name: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressGranted(Event):
    """A worker was granted an address by a message on its control channel."""

    worker: str
    name: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRevoked(Event):
    """What a worker was granted of `exporter`, its main address or one that has a name, leads nowhere any more."""

    worker: str
    exporter: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReady(Event):
    """A worker announced that its program runs."""

    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported(Event):
    """A worker reported a fact."""

    worker: str
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a worker was refused, and how: an errno's name, or SIGSYS.

    `layer` is the one that the kernel says refused it; "" where it is the worker that says so (`worker.refused`).
    """

    call: str
    error: str
    layer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Event):
    """A worker was refused something by its confinement; `WorkerOutcome.refusals` tells how often."""

    worker: str
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded(Event):
    """A step at a worker came to its end: what was asked, what came of it, and the difference from what was expected.

    `step` is the plan's number of it; `result` is as the worker told it, `difference` None where it was as expected.
    """

    worker: str
    step: int
    result: Mapping[str, Any]
    difference: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUnfinished(Event):
    """A step at a worker was still going on when the run was decided."""

    worker: str
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerKilled(Event):
    """The supervisor sent SIGKILL, and why."""

    worker: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSignalled(Event):
    """The supervisor paused or resumed a worker: SIGSTOP, SIGCONT."""

    worker: str
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offence(Event):
    """A worker broke the rules of its control channel, or those of connecting."""

    worker: str
    rules: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerExited(Event):
    """A worker was reaped. `exit_status` is -N for signal N."""

    worker: str
    exit_status: int
