"""Plays sel_ldr for a whole topology: starts the workers, hands out addresses, drives the scenario, says what held.

    plan ──> zygote, ports ──> each worker started ──> each one ready ──> stages of the scenario ──> stop ──> outcome

One event loop, started here and nowhere else. It never waits on a worker's good will: each wait has a deadline, and a
worker that ends otherwise than expected ends the run at once.
"""

import asyncio
import errno
import resource
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final

from harness.events import RunStarted, StepEnded, StepUnfinished
from harness.inspection import Inspection, Subject
from harness.inspection.wiring import Named
from harness.journal import Journal
from harness.member import EXIT_TOLD_SECONDS, Ended, Member
from harness.outcome import Outcome, Status, describe_exit
from harness.plan import KillPlan, Plan, StepPlan, Together
from harness.planner import only_plan_of
from harness.routing import Routing
from harness.scenario import difference
from harness.spawn import Zygote, ZygoteError
from sandbox.abi import FIRST_IMPORT

# How many workers are being started at a time: each takes a handful of descriptors until the zygote has them.
STARTS_AT_ONCE: Final = 16
# What a run holds of each worker: two pipes, its control channel, its pidfd, a way to its address; of each grant a
# facet and, until the worker has it, the other end; of what else is in its table, that.
DESCRIPTORS_A_WORKER: Final = 6
DESCRIPTORS_A_GRANT: Final = 2
DESCRIPTORS_BESIDES: Final = 8 * STARTS_AT_ONCE
# Of the kind that a worker says that a descriptor has, so much is shown.
KIND_MAX: Final = 40
OUT_OF_RESOURCES: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EAGAIN, errno.ETOOMANYREFS}
)


class Verdict(Exception):
    """The run is decided. Raised as soon as it is; `place` is that of the step that decided."""

    def __init__(self, status: Status, reason: str, place: str | None = None) -> None:
        super().__init__(status, reason, place)
        self.status = status
        self.reason = reason
        self.place = place


def run_topology(path: str | Path, **variables: Any) -> Outcome:
    """Run one cell of the topology file at `path` and return its outcome.

    `variables` replace the file's own and choose from the axes of its matrix; a file with several cells needs its axes.
    Raises TopologyError with all that is wrong with the file; nothing is started then.
    """
    return run_plan(only_plan_of(Path(path), variables))


def run_plan(plan: Plan) -> Outcome:
    """Run `plan` on an event loop of its own and return its outcome."""
    return asyncio.run(supervise(plan))


async def supervise(plan: Plan) -> Outcome:
    """Run `plan` and return its outcome. Nothing of the run is left when this returns, raises or is cancelled."""
    began = time.monotonic()
    run = Run(plan)
    try:
        async with asyncio.timeout(plan.within):
            await run.live()
        verdict = run.verdict()
    except TimeoutError:
        await run.look()
        verdict = run.blamed(Verdict(Status.TIMED_OUT, f"the run took longer than {plan.within:g} s{run.waiting()}"))
    except ZygoteError as error:
        verdict = Verdict(Status.FAILED, f"every worker was lost: {error}")
    except Verdict as decided:
        if decided.status is Status.TIMED_OUT:
            await run.look()
        verdict = run.blamed(decided)
    except OSError as error:
        if error.errno not in OUT_OF_RESOURCES:
            raise
        verdict = Verdict(Status.UNSUPPORTED, f"the machine is out of what the run needs: {error}")
    finally:
        run.note_unfinished()
        await run.tear_down()
    return Outcome(
        cell=plan.cell,
        status=verdict.status,
        reason=verdict.reason,
        place=verdict.place,
        workers={name: member.outcome() for name, member in run.members.items()},
        events=tuple(run.journal.events),
        seconds=time.monotonic() - began,
        hang=run.inspection.hang,
    )


class Run:
    """One run in progress."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.journal = Journal()
        self.routing = Routing(plan, self.journal, lambda name, *granted: self.members[name].deliver(*granted))
        self.members = {name: Member(worker, self.journal, self.routing) for name, worker in plan.workers.items()}
        self._zygote: Zygote | None = None
        # What each worker is doing; a step that passed its deadline stays, for whoever asks what was waited for.
        self._pending: dict[str, StepPlan] = {}
        self.inspection = Inspection()

    async def live(self) -> None:
        """Start the workers, drive them through the scenario, stop them. Raises Verdict as soon as one is due."""
        self._require_descriptors()
        self._zygote = await Zygote.start()
        self.journal.add(RunStarted, pid_namespace=self._zygote.pid_namespace)
        await self._start(self._zygote)
        async with tasks() as group:
            watchers = [group.create_task(self._watch(member)) for member in self.members.values()]
            await together(self._wait_until_ready(member) for member in self.members.values())
            if self.plan.stages is not None:
                for stage in self.plan.stages:
                    await self._play(stage)
                await together(member.stop(self.look) for member in self.members.values())
            await asyncio.wait(watchers)

    def _require_descriptors(self) -> None:
        """Refuse, rather than run out of descriptors in the middle. Raises Verdict."""
        count = len(self.members)
        grants = sum(len(worker.grants) for worker in self.plan.workers.values())
        others = sum(len(worker.slots) for worker in self.plan.workers.values()) - grants
        needed = len(list(Path("/proc/self/fd").iterdir())) + DESCRIPTORS_BESIDES
        needed += DESCRIPTORS_A_WORKER * count + DESCRIPTORS_A_GRANT * grants + max(0, others - FIRST_IMPORT * count)
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if needed > limit:
            text = f"{count} workers need up to {needed} descriptors here, and the limit is {limit}: ulimit -n {needed}"
            raise Verdict(Status.UNSUPPORTED, text)

    async def _start(self, zygote: Zygote) -> None:
        self.routing.prepare()
        window = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start(member: Member) -> None:
            async with window:
                await member.start(zygote, str(self.plan.folder))

        await together(start(member) for member in self.members.values())
        self.routing.all_started()
        await zygote.go()

    async def _wait_until_ready(self, member: Member) -> None:
        name = member.plan.name
        try:
            await member.wait_until_ready()
        except TimeoutError:
            text = f"{name} was not ready within {member.plan.ready_within:g} s"
            raise Verdict(Status.TIMED_OUT, text) from None
        except Ended as ended:
            # An offender is named in the end; the others go on without it.
            if member.offence is None:
                raise Verdict(Status.FAILED, f"{name} {ended} before it was ready") from None

    async def _watch(self, member: Member) -> None:
        """Decide the run when a worker ends as nobody expects; before it is ready, `_wait_until_ready` does."""
        status = await member.exited()
        if member.was_ready and not member.stopping and not member.offence and status != self._expected_exit(member):
            raise Verdict(Status.FAILED, self._unexpected(member))

    def _expected_exit(self, member: Member) -> int:
        return self.plan.exits.get(member.plan.name, 0)

    # The scenario

    async def _play(self, stage: Together | KillPlan) -> None:
        match stage:
            case Together(steps):
                await together(self._perform_all(in_order) for in_order in steps.values())
            case KillPlan():
                await self._kill(stage)

    async def _perform_all(self, steps: Iterable[StepPlan]) -> None:
        for step in steps:
            if self.members[step.worker].offence is None:
                await self._perform(step)

    async def _perform(self, step: StepPlan) -> None:
        self._pending[step.worker] = step
        try:
            # Not wait_for, which loses a cancellation that comes together with the result (before Python 3.12).
            async with asyncio.timeout(step.within):
                result = await self.members[step.worker].perform(step.body)
            differs = difference(step.expected, result)
        except TimeoutError:
            text = f"{step.worker}: {step.text} took longer than {step.within:g} s{self.waiting(step)}"
            raise Verdict(Status.TIMED_OUT, text, step.place) from None
        except Ended as ended:
            if self.members[step.worker].offence is not None:
                return
            raise Verdict(Status.FAILED, f"{step.worker} {ended} during {step.text}", step.place) from None
        except ValueError as error:
            text = f"{step.worker} answered {step.text} with {error}"
            raise Verdict(Status.FAILED, text, step.place) from None
        del self._pending[step.worker]
        self.journal.add(StepEnded, worker=step.worker, step=step.number, result=result, difference=differs)
        if differs:
            # Often the consequence of a death, whose news is on its way and says more: then `_watch` decides.
            await asyncio.sleep(EXIT_TOLD_SECONDS)
            raise Verdict(Status.FAILED, f"{step.worker}: {step.text}: {differs}", step.place)

    async def _kill(self, stage: KillPlan) -> None:
        member = self.members[stage.worker]
        if member.offence is not None:
            return
        if member.exit_status is not None:
            text = f"{stage.worker} {describe_exit(member.exit_status)} before it was to be killed"
            raise Verdict(Status.FAILED, text, stage.place)
        member.kill("the scenario says so")
        try:
            async with asyncio.timeout(stage.within):
                await member.exited()
        except TimeoutError:
            text = f"{stage.worker} was killed but not gone within {stage.within:g} s"
            raise Verdict(Status.TIMED_OUT, text, stage.place) from None

    def waiting(self, but: StepPlan | None = None) -> str:
        """Return which other steps were still going on, to append to a reason."""
        others = [f"{step.worker}: {step.text}" for step in self._pending.values() if step is not but]
        return f"; meanwhile {', '.join(others)}" if others else ""

    def note_unfinished(self) -> None:
        """Write down which steps will not end any more."""
        for step in self._pending.values():
            self.journal.add(StepUnfinished, worker=step.worker, step=step.number)

    # A deadline passed

    async def look(self) -> None:
        """Find out where the workers are, while they are still there."""
        await self.inspection.look([self._subject(name) for name in self.members], tuple(self.routing.ways()))

    def _subject(self, name: str) -> Subject:
        """Return a worker as its steps have left it."""
        steps = {step.number: step for step in self.plan.steps() if step.worker == name}
        ended = (event for event in self.journal.events if isinstance(event, StepEnded) and event.worker == name)
        named = [named_by(steps[event.step].body, event.result) for event in ended]
        pending = self._pending.get(name)
        # Between its steps a worker looks for the next one; one that has none may look for anything.
        needed = names_in(pending.body) if pending else None if not steps else ()
        return self.members[name].subject(
            pending.text if pending else "",
            lambda grant: needed is None or grant in needed,
            dict(chain.from_iterable(named)),
        )

    # The end

    def verdict(self) -> Verdict:
        """Return what the exits of the workers make of a run that went through to its end."""
        wrong = [
            self._unexpected(member)
            for member in self.members.values()
            if member.offence or member.overstayed or member.exit_status != self._expected_exit(member)
        ]
        return Verdict(Status.FAILED, "; ".join(wrong)) if wrong else Verdict(Status.PASSED, "all as expected")

    def blamed(self, verdict: Verdict) -> Verdict:
        """Return the verdict with those named first who broke the rules: what came afterwards may follow from that."""
        offenders = [self._unexpected(member) for member in self.members.values() if member.offence]
        if not offenders:
            return verdict
        return Verdict(Status.FAILED, f"{'; '.join(offenders)}; then {verdict.reason}", verdict.place)

    def _unexpected(self, member: Member) -> str:
        name = member.plan.name
        if member.offence:
            return f"{name} broke the rules of its control channel: {member.offence}"
        if member.overstayed:
            return f"{name} did not stop within {member.plan.stop_within:g} s and was killed"
        expected = describe_exit(self._expected_exit(member))
        return f"{name} {describe_exit(member.exit_status)}, where the topology expects that it {expected}"

    async def tear_down(self) -> None:
        """End whatever is left, and wait until it is gone."""
        try:
            if self._zygote is not None:
                try:
                    await asyncio.gather(*(member.bury() for member in self.members.values()))
                finally:
                    await self._zygote.stop()
        finally:
            self.routing.close()
            for member in self.members.values():
                member.close()


def names_in(body: Mapping[str, Any]) -> set[str]:
    """Return all that a step may mean by the name that it has for a descriptor."""
    return {value for value in body.values() if isinstance(value, str)} | set(body.get("descriptors", ()))


def named_by(body: Mapping[str, Any], result: Mapping[str, Any]) -> Iterator[tuple[str, Named]]:
    """Yield what a step's descriptors are called, by identity, as far as the worker told."""
    for name, described in zip(body.get("as", ()), result.get("descriptors", ()), strict=False):
        match described:
            case {"kind": str(kind), "identity": str(identity)}:
                yield identity, Named(name, kind[:KIND_MAX])


@asynccontextmanager
async def tasks() -> AsyncIterator[asyncio.TaskGroup]:
    """Enter a TaskGroup that raises what decided it: a bug before a Verdict, one with a place before one without."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        raise min(failures.exceptions, key=_rank) from None


def _rank(failure: BaseException) -> int:
    if isinstance(failure, Verdict):
        return 1 if failure.place else 2
    return 0


async def together(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run these at the same time; the first failure ends the others and is raised."""
    async with tasks() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)
