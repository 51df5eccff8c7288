"""Plays sel_ldr for a whole topology: starts the workers, hands out addresses, drives the scenario, says what held.

    plan ──> zygote, ports ──> each worker started ──> each one ready ──> stages of the scenario ──> stop ──> outcome

One event loop, started here and nowhere else. It never waits on a worker's good will: each wait has a deadline, and a
worker that ends otherwise than expected ends the run at once.
"""

import asyncio
import errno
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness import confinement
from harness.confinement import limits_of
from harness.director import Director
from harness.errors import MissingLayerError
from harness.events import RunStarted
from harness.facets import Facet
from harness.journal import Journal
from harness.launcher import warm
from harness.lookout import Lookout
from harness.member import Ended, Member
from harness.outcome import Outcome, Status, describe_exit
from harness.plan import Plan
from harness.planner import only_plan_of
from harness.room import ROOM
from harness.routing import Routing
from harness.spawn import Zygote, ZygoteError
from harness.undertaker import Undertaker
from harness.verdict import Verdict, no_callback_fails, tasks, together
from sandbox.abi import FIRST_IMPORT
from sandbox.confinement import capabilities
from sandbox.descriptors import SocketAddress

# How many workers are being started at a time: each takes a handful of descriptors until the zygote has them.
STARTS_AT_ONCE: Final = 16
# What a run holds of each worker: two pipes, its control channel, its pidfd, its listener, a way to its
# address; of each grant a facet and, until the worker has it, the other end; of what else is in its table, that.
DESCRIPTORS_A_WORKER: Final = 7
DESCRIPTORS_A_GRANT: Final = 2
DESCRIPTORS_BESIDES: Final = 8 * STARTS_AT_ONCE
OUT_OF_RESOURCES: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EAGAIN, errno.ETOOMANYREFS}
)


def run_topology(path: str | Path, **variables: Any) -> Outcome:
    """Run one cell of the topology file at `path` and return its outcome.

    `variables` replace the file's own and choose from the axes of its matrix; a file with several cells needs its axes.
    Raises TopologyError with all that is wrong with the file; nothing is started then.
    """
    return run_plan(only_plan_of(Path(path), variables))


def run_plan(plan: Plan) -> Outcome:
    """Run `plan` on an event loop of its own and return its outcome."""

    async def run() -> Outcome:
        async with no_callback_fails():
            return await supervise(plan)

    return asyncio.run(run())


async def supervise_all(plans: Sequence[Plan], jobs: int, tell: Callable[[Plan, Outcome], None]) -> None:
    """Run all plans, `jobs` of them at a time, and tell of each outcome, in the order of the plans, as soon as may be.

    They share this loop and a launcher. What they use of the machine, and what they may break, they do not share.
    """
    window = asyncio.Semaphore(jobs)

    async def in_window(plan: Plan) -> Outcome:
        async with window:
            return await supervise(plan)

    with warm(sum(len(plan.workers) for plan in plans)):
        async with no_callback_fails(), tasks() as group:
            for plan, outcome in [(plan, group.create_task(in_window(plan))) for plan in plans]:
                tell(plan, await outcome)


async def supervise(plan: Plan) -> Outcome:
    """Run `plan` and return its outcome. Nothing of the run is left when this returns, raises or is cancelled."""
    if (refused := refusal(plan)) is not None:
        return refused
    workers, grants, besides = descriptors_of(plan)
    async with ROOM.held(DESCRIPTORS_A_WORKER * workers + DESCRIPTORS_A_GRANT * grants + besides):
        return await supervised(Run(plan))


async def supervised(run: "Run") -> Outcome:
    """Live through a run and return its outcome, as above."""
    plan, began = run.plan, time.monotonic()
    try:
        async with asyncio.timeout(plan.within):
            await run.live()
        verdict = run.verdict()
    except TimeoutError:
        await run.lookout.look()
        verdict = run.blamed(
            Verdict(Status.TIMED_OUT, f"the run took longer than {plan.within:g} s{run.director.waiting()}")
        )
    except ZygoteError as error:
        verdict = Verdict(Status.FAILED, f"every worker was lost: {error}")
    except MissingLayerError as error:
        verdict = Verdict(Status.UNSUPPORTED, str(error))
    except Verdict as decided:
        if decided.status is Status.TIMED_OUT:
            await run.lookout.look()
        verdict = run.blamed(decided)
    except OSError as error:
        if error.errno in OUT_OF_RESOURCES:
            verdict = Verdict(Status.UNSUPPORTED, f"the machine is out of what the run needs: {error}")
        elif error.filename is not None:
            # A file that was there when the run was planned.
            verdict = Verdict(Status.REFUSED, f"{error.filename}: {error.strerror}")
        else:
            raise
    finally:
        run.director.note_unfinished()
        await run.tear_down()
    return Outcome(
        cell=plan.cell,
        status=verdict.status,
        reason=verdict.reason,
        place=verdict.place,
        workers={name: member.outcome() for name, member in run.members.items()},
        events=tuple(run.journal.events),
        seconds=time.monotonic() - began,
        hang=run.lookout.hang,
    )


def refusal(plan: Plan) -> Outcome | None:
    """Return the outcome of a cell that cannot be run, or is expected to be such a one; None for all others."""
    if not plan.refusals and not plan.is_refused:
        return None
    why = "; ".join(plan.refusals)
    if not plan.refusals:
        status, reason = Status.FAILED, "the topology expects that this is refused, and nothing speaks against it"
    elif plan.is_refused:
        status, reason = Status.PASSED, f"refused, as expected: {why}"
    else:
        status, reason = Status.REFUSED, why
    return Outcome(plan.cell, status, reason, workers={}, events=())


def descriptors_of(plan: Plan) -> tuple[int, int, int]:
    """Return what a run needs descriptors for: its workers, its grants, and how many it opens besides."""
    count = len(plan.workers)
    grants = sum(len(worker.grants) for worker in plan.workers.values())
    others = sum(len(worker.slots) for worker in plan.workers.values()) - grants
    return count, grants, DESCRIPTORS_BESIDES + max(0, others - FIRST_IMPORT * count)


class Run:
    """One run in progress."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.journal = Journal()
        self._undertaker = Undertaker()
        self.routing = Routing(plan, self.journal, self._undertaker, self._deliver, self._refused)
        self.members = {
            name: Member(worker, self.journal, self.routing, self._undertaker) for name, worker in plan.workers.items()
        }
        self.director = Director(self.members, self.journal, self.routing.revoke)
        self.lookout = Lookout(plan, self.members, self.routing, self.director.pending)
        self._zygote: Zygote | None = None
        self._assigned: Mapping[str, confinement.Assignment] = {}

    def _deliver(self, importer: str, name: str, address: SocketAddress) -> None:
        self.members[importer].deliver(name, address)

    def _refused(self, facet: Facet, sender: int, text: str) -> bool:
        """Tell of it at the facet's importer, who alone may be to blame for it; say whether the facet is to be shut."""
        importer = self.members[facet.importer]
        if not sender:
            importer.lost_connect(text)
        elif importer.is_process(sender):
            importer.refused_connect(text)
        else:
            other = next((name for name, member in self.members.items() if member.is_process(sender)), None)
            return importer.refused_connect_of(other, facet.name, text)
        return False

    async def live(self) -> None:
        """Start the workers, drive them through the scenario, stop them. Raises Verdict as soon as one is due."""
        await self.prepare()
        await self._start_all()
        await self.go()
        async with tasks() as group:
            watchers = [group.create_task(self._watch(member)) for member in self.members.values()]
            await together(self._wait_until_ready(member) for member in self.members.values())
            if self.plan.stages is not None:
                await self.director.play(self.plan.stages)
                await together(member.stop(self.lookout.look) for member in self.members.values())
            await asyncio.wait(watchers)

    async def prepare(self) -> None:
        """Have a zygote, and all that the workers will start with. Raises Verdict where the machine lacks some."""
        self._require_descriptors()
        self._require_limits()
        self._zygote = await Zygote.start(len(self.members))
        self.journal.add(RunStarted, pid_namespace=self._zygote.pid_namespace)
        self._assigned = await confinement.prepare(self.plan, self._zygote)
        self.routing.prepare()

    async def _start_all(self) -> None:
        window = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start(member: Member) -> None:
            async with window:
                await self.start(member)

        await together(start(member) for member in self.members.values())

    async def start(self, member: Member) -> None:
        """Have a worker forked, once all is prepared; it runs after `go`."""
        assert self._zygote is not None  # noqa: S101 - it was prepared
        await member.start(self._zygote, self._assigned[member.plan.name])

    async def go(self) -> None:
        """Let the workers run, and those that are started later at once."""
        assert self._zygote is not None  # noqa: S101 - it was prepared
        self.routing.all_started()
        await self._zygote.go()
        for member in self.members.values():
            member.began()

    def _require_descriptors(self) -> None:
        """Refuse, rather than run out of descriptors in the middle. Raises Verdict."""
        count, grants, besides = descriptors_of(self.plan)
        besides += len(list(Path("/proc/self/fd").iterdir()))
        needed = DESCRIPTORS_A_WORKER * count + DESCRIPTORS_A_GRANT * grants + besides
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if needed > limit:
            sum_of = (
                f"{DESCRIPTORS_A_WORKER} a worker, {DESCRIPTORS_A_GRANT} for each of {grants} grants, {besides} besides"
            )
            text = f"{count} workers need up to {needed} descriptors here ({sum_of}), and the limit is {limit}"
            raise Verdict(Status.UNSUPPORTED, f"{text}: ulimit -n {needed}")

    def _require_limits(self) -> None:
        """Refuse to give a worker more than we may have ourselves, unless we have that power. Raises Verdict."""
        may_raise = capabilities.effective() >> capabilities.CAP_SYS_RESOURCE & 1
        for name, worker in self.plan.workers.items():
            for limit, value in limits_of(worker.limits).items():
                _, hard = resource.getrlimit(getattr(resource, limit))
                if not may_raise and hard != resource.RLIM_INFINITY and value > hard:
                    text = f"{name} is to have a limit of {value} ({limit}), and ours cannot be more than {hard}"
                    raise Verdict(Status.UNSUPPORTED, text)

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
            return f"{name} broke the rules of {member.rules}: {member.offence}"
        if member.overran:
            return f"{name} was killed: it ran longer than its limit of {member.plan.limits.wall:g} s"
        if member.overstayed:
            return f"{name} did not stop within {member.plan.stop_within:g} s and was killed"
        expected = describe_exit(self._expected_exit(member))
        return f"{name} {describe_exit(member.exit_status)}, where the topology expects that it {expected}"

    async def tear_down(self) -> None:
        """End whatever is left, and wait until it is gone."""
        try:
            if self._zygote is not None:
                # All stand still before the first is ended, so that nobody's last words are about another's end.
                for member in self.members.values():
                    member.freeze()
                try:
                    await asyncio.gather(*(member.bury() for member in self.members.values()))
                finally:
                    await self._zygote.stop()
        finally:
            self.routing.close()
            for member in self.members.values():
                member.close()
            self._undertaker.close()
