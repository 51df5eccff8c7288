"""The plan of a run, for a reader who wants to know before anything starts what each worker will hold and be told."""

import json
from collections.abc import Iterator
from shlex import join
from typing import Final

from harness.comparison import shown
from harness.outcome import describe_exit
from harness.plan import (
    ANYTHING,
    OPEN_FILES,
    ActPlan,
    AwaitPlan,
    ChannelEnd,
    Grant,
    HostFilePlan,
    Limits,
    Own,
    ParallelPlan,
    Plan,
    RevokePlan,
    Slot,
    Stage,
    StepPlan,
    Together,
    WaitPlan,
    WorkerPlan,
)
from harness.report.profile import changed, limits_told
from harness.scenario import printable
from sandbox.confinement.policy import Layer

INDENT: Final = "  "


def described(plan: Plan) -> str:
    """Return what the plan is: each worker with all that it starts with, the routes, the scenario."""
    return "\n".join([f"{printable(plan.cell)} ({plan.file})", *_indented(_plan(plan))])


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"{INDENT}{line}" for line in lines)


def _plan(plan: Plan) -> Iterator[str]:
    for text in plan.refusals:
        yield f"refused{', as expected' if plan.is_refused else ''}: {text}"
    for worker in plan.workers.values():
        yield f"{worker.name}: {join(worker.command[1:]) if worker.command else worker.program}"
        yield from _indented(_worker(worker, plan))
    yield "routes" + ("" if any(plan.edges()) else ": none")
    for importer, grant in plan.edges():
        yield f"{INDENT}{_whose(grant)} → {importer} as {grant.name}: {_manner(grant)}"
    if plan.stages is None:
        yield "no scenario: passes when all have exited as expected"
    else:
        yield "scenario"
        yield from _indented(_stages(plan.stages))
    others = ", ".join(f"{name} {describe_exit(status)}" for name, status in plan.exits.items())
    yield f"expected in the end: {others + ', all others exited with 0' if others else 'all exited with 0'}"
    yield f"within {plan.within:g} s"


def _worker(worker: WorkerPlan, plan: Plan) -> Iterator[str]:
    yield f"protocol {worker.protocol}, layout {worker.layout}"
    width = max(len(slot.kind) for slot in worker.slots)
    for slot in worker.slots:
        yield f"{slot.number:>3} {slot.kind:<{width}}  {slot.name}{_origin(slot, plan)}"
    if worker.args:
        yield f"arguments {json.dumps(worker.args, ensure_ascii=False)}"
    variables = " ".join(f"{name}={json.dumps(text)}" for name, text in worker.env.items())
    yield f"environment {variables or 'empty'}" + (
        " and LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES" if worker.command else ""
    )
    yield f"limits {_limits(worker.limits)}"
    layers = ", ".join(layer.value for layer in Layer if layer in worker.policy.layers)
    yield f"profile {worker.policy.name}{layers and ': ' + layers}"
    yield from _indented(changed(worker.policy))
    if limits := limits_told(worker.policy):
        yield f"{INDENT}limits {limits}"
    yield f"ready by {worker.ready_by.value}, within {worker.ready_within:g} s; stops within {worker.stop_within:g} s"


def _origin(slot: Slot, plan: Plan) -> str:
    match slot.origin:
        case Grant() as grant:
            return f": of {_whose(grant)}, {_manner(grant)}"
        case HostFilePlan(path, mode):
            return f": {path}, {mode}"
        case ChannelEnd(channel, end):
            return f": an end of channel {channel}, the other is {_other_end(channel, end, plan)}"
        case Own.STDOUT | Own.STDERR:
            return ": kept for the report"
        case Own.SERVICE_PORT:
            return ": its service port, of the supervisor's making"
        case Own.ADDRESS:
            return ": its service port's"
        case Own.CONTROL_CHANNEL:
            return ": to the supervisor"
        case _:
            return ""


def _other_end(channel: int, end: int, plan: Plan) -> str:
    other = ChannelEnd(channel, 1 - end)
    return next(f"{w.name}.{slot.number}" for w in plan.workers.values() for slot in w.slots if slot.origin == other)


def _whose(grant: Grant) -> str:
    return ".".join(filter(None, (grant.exporter, grant.export)))


def _manner(grant: Grant) -> str:
    what = "a facet" if grant.facet else "the address itself"
    return what if grant.at_start else f"{what}, in a message"


def _limits(limits: Limits) -> str:
    said = [
        f"address_space {limits.address_space} bytes" if limits.address_space else "",
        f"open_files {limits.open_files or OPEN_FILES}",
        f"cpu {limits.cpu:g} s" if limits.cpu else "",
        f"wall {limits.wall:g} s" if limits.wall else "",
        f"output {limits.output} bytes" if limits.output else "",
    ]
    return ", ".join(filter(None, said))


def _stages(stages: tuple[Stage, ...]) -> Iterator[str]:
    for number, stage in enumerate(stages, 1):
        head, *rest = _stage(stage)
        yield f"{number}. {head}"
        yield from (f"   {line}" for line in rest)


def _stage(stage: Stage) -> Iterator[str]:
    match stage:
        case Together(steps):
            yield "at the same time, each worker's steps one after the other"
            for worker, in_order in steps.items():
                yield from (f"{worker}: {_step(step)}" for step in in_order)
        case ActPlan(act, worker, _, _):
            yield f"{act.value} {worker}"
        case RevokePlan(exporter, export, importer):
            yield f"revoke {'.'.join(filter(None, (exporter, export)))} from {importer}"
        case WaitPlan(seconds):
            yield f"wait {seconds:g} s"
        case AwaitPlan(_, exits, reports, within):
            wanted = [f"the end of {worker}" for worker in exits]
            wanted += [
                f"{worker}'s {key}" + ("" if value is ANYTHING else f" = {shown(value)}")
                for worker, values in reports.items()
                for key, value in values.items()
            ]
            yield f"wait for {', '.join(wanted)}, within {within:g} s"
        case ParallelPlan(branches):
            yield "branches at the same time"
            for branch in branches:
                yield "-"
                yield from _indented(_stages(branch))


def _step(step: StepPlan) -> str:
    names = f" → {', '.join(step.body['as'])}" if step.body["as"] else ""
    expected = f", expects {step.expected.error}" if step.expected.error else ""
    return f"{step.text}{names}{expected}"
