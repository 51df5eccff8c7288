"""The account of a run: who was started with what, who connected to whom, what was passed, what was refused."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from reprlib import Repr
from shlex import quote
from typing import Any, Final

from harness.events import (
    AddressExported,
    AddressGranted,
    AddressLost,
    AddressRevoked,
    ConnectRefused,
    Event,
    FacetMade,
    FacetShut,
    Offence,
    Refusal,
    Refused,
    Reported,
    ServicePortMade,
    StepEnded,
    StepUnfinished,
    WorkerKilled,
    WorkerSignalled,
    WorkerStarted,
)
from harness.outcome import Outcome, WorkerOutcome, describe_exit
from harness.plan import ChannelEnd, Grant, HostFilePlan, Plan, Slot, StepPlan, WorkerPlan
from harness.report.hang import explanation
from harness.report.hints import hints
from harness.scenario import printable, told
from harness.topology import as_text
from harness.topology.load import scalar
from harness.topology.values import Scalar
from sandbox.confinement.policy import Layer

SHOWN_BYTES: Final = 60
DEAF: Final = "(which calls that refuses is not told here: imclab doctor) "
# Of each output; where the report is kept, all of it is.
OUTPUT_LINES: Final = 100
# Of what a worker reports, so much as a line can show; it may be of any depth.
SHORT: Final = Repr()
SHORT.maxstring = SHORT.maxother = 200


def summary(outcome: Outcome) -> str:
    """Return one line: the cell, how it ended, and why where it did not pass."""
    line = f"{printable(outcome.cell)}: {outcome.status} in {outcome.seconds:.2f} s"
    return line if outcome.passed else f"{line}: {outcome.reason}"


def account(plan: Plan, outcome: Outcome) -> str:
    """Return what happened, in the order of the topology: the workers, the steps, the ends."""
    return "\n".join([printable(outcome.cell), *(f"  {line}" for line in _lines(plan, outcome))])


def failure(plan: Plan, outcome: Outcome) -> str:
    """Return all that helps to understand a run that did not pass: place, reason, account, output, how to repeat it."""
    head = f"{outcome.place}: {outcome.reason}" if outcome.place else f"{plan.file}: {outcome.reason}"
    outputs = [text for worker in outcome.workers.values() for text in _outputs(worker)]
    why = ["", *explanation(outcome.hang)] if outcome.hang is not None else []
    return "\n".join([head, *why, "", account(plan, outcome), *outputs, "", f"repeat it: {repeat(plan)}"])


def repeat(plan: Plan) -> str:
    """Return the command that runs this one cell again, with the variables that it had."""
    settings = {**plan.replaced, **plan.axes}
    chosen = (f"--set {quote(f'{name}={_setting(value)}')}" for name, value in settings.items())
    return " ".join(["imclab run -v", *chosen, quote(plan.file)])


def _setting(value: Scalar) -> str:
    """Return a value as the command line has it: text that would be read as something else is quoted, as in YAML."""
    text = as_text(value)
    if not isinstance(value, str) or (scalar(text) == value and isinstance(scalar(text), str)):
        return text
    escaped = printable(value.replace("\\", r"\\").replace('"', r"\""))
    return f'"{escaped}"'


def _lines(plan: Plan, outcome: Outcome) -> Iterator[str]:
    made = (event for event in outcome.events if isinstance(event, ServicePortMade | FacetMade | AddressExported))
    owners = {event.identity: event.worker for event in made}
    width = max(map(len, plan.workers))
    started = {event.worker for event in outcome.events if isinstance(event, WorkerStarted)}
    if not started:
        yield f"{outcome.status}, and nothing was started: {outcome.reason}"
        return
    for worker in (worker for worker in plan.workers.values() if worker.name in started):
        yield f"{worker.name:<{width}}  {_start(worker, outcome)}"
    steps = {step.number: step for step in plan.steps()}
    for event in _in_order_of_steps(outcome.events):
        if (line := _line(event, steps, owners, outcome.workers)) is not None:
            name, text = line
            yield f"{name:<{width}}{text}"
    ends = ", ".join(f"{w.name} {describe_exit(w.exit_status)}" for w in outcome.workers.values() if w.name in started)
    yield f"{outcome.status} in {outcome.seconds:.2f} s: {ends}"


def _line(  # noqa: C901, PLR0912 - one case an event
    event: Event, steps: Mapping[int, StepPlan], owners: Mapping[str, str], workers: Mapping[str, WorkerOutcome]
) -> tuple[str, str] | None:
    """Return whom an event is about, and what is told of it; None where nothing is."""
    match event:
        case StepEnded(worker=worker):
            mark = " ✗ " if event.difference else "  "
            return worker, f"{mark}{_step(steps[event.step], event.result, owners)}"
        case StepUnfinished(worker=worker):
            return worker, f" ✗ {steps[event.step].text}: not finished"
        case Reported(worker=worker):
            return worker, f"  reported {printable(event.key)} = {SHORT.repr(event.value)}"
        case AddressExported(worker=worker, name=name) if name:
            return worker, f"  exports {printable(name)}"
        case AddressGranted(worker=worker, name=name, identity=identity):
            whose = f" of {owners[identity]}" if identity in owners else ""
            return worker, f"  is granted SocketAddress {name!r}{whose}"
        case AddressRevoked(worker=worker, exporter=exporter, name=name):
            whose = ".".join(filter(None, (exporter, name)))
            return worker, f"  has SocketAddress of {printable(whose)} taken away"
        case Refused(worker=worker, refusal=refusal):
            return worker, f"  {refused(refusal, workers[worker].refusals[refusal])}"
        case WorkerKilled(worker=worker):
            return worker, f"  was killed: {event.reason}"
        case WorkerSignalled(worker=worker, signal=signal):
            return worker, f"  was {'paused' if signal == 'SIGSTOP' else 'resumed'}"
        case ConnectRefused(worker=worker):
            return worker, f" ✗ was refused a connection: {event.text}"
        case FacetShut(worker=worker, name=name):
            return worker, f" ✗ its address {printable(name)} was shut: {event.text}"
        case AddressLost(worker=worker, name=name):
            address = f"export {printable(name)}" if name else "address"
            return worker, f" ✗ its {address} leads nowhere: {event.text}"
        case Offence(worker=worker):
            return worker, f" ✗ broke the rules of {event.rules}: {event.text}"
        case _:
            return None


def _in_order_of_steps(events: Iterable[Event]) -> list[Event]:
    """Return the events with runs of concurrent steps in the order of the file, where each line explains the next."""
    ordered: list[Event] = []
    concurrent: list[StepEnded] = []
    for event in events:
        if isinstance(event, StepEnded):
            concurrent.append(event)
        else:
            ordered += sorted(concurrent, key=attrgetter("step"))
            ordered.append(event)
            concurrent = []
    return ordered + sorted(concurrent, key=attrgetter("step"))


def refused(refusal: Refusal, count: int) -> str:
    """Return what a worker was refused, by which layer or in whose words, and how often."""
    who = "was" if refusal.layer else "says that it was"
    layer = f" ({refusal.layer})" if refusal.layer else ""
    times = f", {count} times" if count > 1 else ""
    return f"{who} refused {printable(refusal.call)}: {refusal.error}{layer}{times}"


def _start(worker: WorkerPlan, outcome: Outcome) -> str:
    """Return what a worker starts with, without what all have."""
    exports = {
        event.name for event in outcome.events if isinstance(event, AddressExported) and event.worker == worker.name
    }
    port = {
        "none": "no service port",
        "unexported": "3 BoundSocket, 4 its SocketAddress (-X -1: not exported)",
        "exported": "3 BoundSocket, 4 its SocketAddress (-X 5: "
        + ("exported)" if "" in exports else "never exported)"),
    }[worker.service_port]
    given = "".join(f", {slot.number} {text}" for slot in worker.slots if (text := _given(slot)))
    return f"starts {_under(worker, outcome)}with {port}{given}"


def _under(worker: WorkerPlan, outcome: Outcome) -> str:
    """Return what confines a worker, which layers of it are not here, and whether nobody hears what it is refused."""
    if worker.policy.name == "none":
        return ""
    became = outcome.workers.get(worker.name, WorkerOutcome(worker.name, None))
    without = f", without {', '.join(became.without)}," if became.without else ""
    is_deaf = Layer.SECCOMP.value in became.layers and not became.is_heard
    return f"under {worker.policy.name}{without} {DEAF if is_deaf else ''}"


def _given(slot: Slot) -> str:
    match slot.origin:
        case Grant() as grant:
            return _grant(grant)
        case HostFilePlan(path, mode):
            return f"HostFile {slot.name!r}: {path.name} ({mode})"
        case ChannelEnd():
            return f"{slot.kind} {slot.name!r}"
        case _:
            return ""


def _grant(grant: Grant) -> str:
    whose = ".".join(filter(None, (grant.exporter, grant.export)))
    return f"SocketAddress {grant.name!r}" + (f" of {whose}" if grant.name != whose else "")


def _step(step: StepPlan, result: Mapping[str, Any], owners: Mapping[str, str]) -> str:
    if result.get("error") is not None:
        as_expected = ", as expected" if step.expected.error == result["error"] else ""
        return f"{step.text}: refused, {told(result)}{as_expected}"
    names = ", ".join(step.body["as"])
    held = f" → {names}" if names else ""
    match step.body["do"]:
        case "connect":
            return f"connects to {_described(result.get('address'), owners) or step.body['address']}{held}"
        case "accept":
            return f"accepts a connection{held}"
        case "sendmsg":
            return f"{step.text}{_descriptors(result, owners)}"
        case "recvmsg":
            return f"{step.text}: {_data(result)}{_descriptors(result, owners)}{held}"
        case _:
            return f"{step.text}{held}"


def _descriptors(result: Mapping[str, Any], owners: Mapping[str, str]) -> str:
    described = [_described(item, owners) for item in result.get("descriptors", ())]
    return f" [{', '.join(described)}]" if described else ""


def _described(described: object, owners: Mapping[str, str]) -> str:
    match described:
        case {"kind": str(kind), "identity": str(identity)} if identity in owners:
            return f"{kind} of {owners[identity]}"
        case {"kind": str(kind)}:
            return kind
        case _:
            return ""


def _data(result: Mapping[str, Any]) -> str:
    match result.get("data"):
        case {"size": int(size), "head": str(head)}:
            text = repr(base64.b64decode(head)[:SHOWN_BYTES].decode("utf-8", "backslashreplace"))
            return text if size <= SHOWN_BYTES else f"{text}… ({size} bytes)"
        case _:
            return "no data"


def _outputs(worker: WorkerOutcome) -> Iterator[str]:
    for name, output in (("stdout", worker.stdout), ("stderr", worker.stderr)):
        if output.text().strip():
            lines = output.text().rstrip().split("\n")
            left_out = [f"… {len(lines) - OUTPUT_LINES} lines before"] if len(lines) > OUTPUT_LINES else []
            yield "\n".join([f"\n{worker.name}, {name}:", *left_out, *map(printable, lines[-OUTPUT_LINES:])])
    if told := list(hints(worker)):
        yield "\n".join(
            [f"\n{worker.name}, what its profile {printable(worker.profile)} may have kept from it:", *told]
        )
