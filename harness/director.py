"""Drives the workers through the stages of a scenario, and raises the Verdict where one does not go as expected."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from harness.comparison import difference_of
from harness.events import StepEnded, StepUnfinished
from harness.journal import Journal
from harness.member import EXIT_TOLD_SECONDS, Ended, Member
from harness.outcome import Status, describe_exit
from harness.plan import (
    ANYTHING,
    Act,
    ActPlan,
    AwaitPlan,
    ParallelPlan,
    RevokePlan,
    Stage,
    StepPlan,
    Together,
    WaitPlan,
)
from harness.scenario import difference
from harness.verdict import Verdict, together


class Director:
    """`pending` is what each worker is doing; a step that passed its deadline stays, for whoever asks.

    `revoke(exporter, export, importer)` takes an address away from a worker.
    """

    def __init__(
        self, members: Mapping[str, Member], journal: Journal, revoke: Callable[[str, str, str], None]
    ) -> None:
        self.pending: dict[str, StepPlan] = {}
        self._members = members
        self._journal = journal
        self._revoke = revoke

    async def play(self, stages: Iterable[Stage]) -> None:
        """Go through the stages, one after the other. Raises Verdict, ZygoteError."""
        for stage in stages:
            match stage:
                case Together(steps):
                    await together(self._perform_all(in_order) for in_order in steps.values())
                case ParallelPlan(branches):
                    await together(self.play(branch) for branch in branches)
                case ActPlan():
                    await self._act(stage)
                case RevokePlan(exporter, export, importer):
                    self._revoke(exporter, export, importer)
                case WaitPlan(seconds):
                    await asyncio.sleep(seconds)
                case AwaitPlan():
                    await self._await(stage)

    def waiting(self, but: StepPlan | None = None) -> str:
        """Return which other steps were still going on, to append to a reason."""
        others = [f"{step.worker}: {step.text}" for step in self.pending.values() if step is not but]
        return f"; meanwhile {', '.join(others)}" if others else ""

    def note_unfinished(self) -> None:
        """Write down which steps will not end any more."""
        for step in self.pending.values():
            self._journal.add(StepUnfinished, worker=step.worker, step=step.number)

    # Steps at workers

    async def _perform_all(self, steps: Iterable[StepPlan]) -> None:
        for step in steps:
            if self._members[step.worker].offence is None:
                await self._perform(step)

    async def _perform(self, step: StepPlan) -> None:
        self.pending[step.worker] = step
        try:
            # Not wait_for, which loses a cancellation that comes together with the result (before Python 3.12).
            async with asyncio.timeout(step.within):
                result = await self._members[step.worker].perform(step.body)
            differs = difference(step.expected, result)
        except TimeoutError:
            text = f"{step.worker}: {step.text} took longer than {step.within:g} s{self.waiting(step)}"
            raise Verdict(Status.TIMED_OUT, text, step.place) from None
        except Ended as ended:
            if self._members[step.worker].offence is not None:
                return
            raise Verdict(Status.FAILED, f"{step.worker} {ended} during {step.text}", step.place) from None
        except ValueError as error:
            self._members[step.worker].offended(f"it answered {step.text} with {error}")
            return
        del self.pending[step.worker]
        self._journal.add(StepEnded, worker=step.worker, step=step.number, result=result, difference=differs)
        if differs:
            # Often the consequence of a death, whose news is on its way and says more: then who watches it decides.
            await asyncio.sleep(EXIT_TOLD_SECONDS)
            raise Verdict(Status.FAILED, f"{step.worker}: {step.text}: {differs}", step.place)

    # What is done to workers

    async def _act(self, stage: ActPlan) -> None:
        member = self._members[stage.worker]
        if member.offence is not None:
            return
        if member.exit_status is not None:
            text = (
                f"{stage.worker} {describe_exit(member.exit_status)} before the scenario came to {stage.act.value} it"
            )
            raise Verdict(Status.FAILED, text, stage.place)
        match stage.act:
            case Act.KILL:
                member.kill("the scenario says so")
                await self._within(stage, member.exited, "was killed but not gone")
            case Act.PAUSE:
                member.pause()
                await self._within(stage, member.paused, "did not stop")
            case Act.RESUME:
                member.resume()

    async def _within(self, stage: ActPlan, effect: Callable[[], Awaitable[object]], otherwise: str) -> None:
        """Wait for the effect of a signal. Raises Verdict."""
        try:
            async with asyncio.timeout(stage.within):
                await effect()
        except TimeoutError:
            text = f"{stage.worker} {otherwise} within {stage.within:g} s"
            raise Verdict(Status.TIMED_OUT, text, stage.place) from None

    # Waiting for workers

    async def _await(self, stage: AwaitPlan) -> None:
        """Wait for ends, and for reports that fit; one that cannot come any more is not waited for."""
        try:
            async with asyncio.timeout(stage.within):
                for worker in stage.exits:
                    await self._members[worker].exited()
                for worker, wanted in stage.reports.items():
                    await self._reported(worker, wanted)
        except TimeoutError:
            raise Verdict(Status.TIMED_OUT, self._in_vain(stage), stage.place) from None
        missing = [text for worker, wanted in stage.reports.items() for text in self._missing(worker, wanted)]
        if missing:
            raise Verdict(Status.FAILED, "; ".join(missing), stage.place)

    async def _reported(self, worker: str, wanted: Mapping[str, object]) -> None:
        await self._members[worker].until_it_cannot_change(lambda: not self._missing(worker, wanted))

    def _in_vain(self, stage: AwaitPlan) -> str:
        missing = [f"{worker} has not ended" for worker in stage.exits if self._members[worker].exit_status is None]
        missing += [text for worker, wanted in stage.reports.items() for text in self._missing(worker, wanted)]
        return f"{'; '.join(missing)}, after {stage.within:g} s"

    def _missing(self, worker: str, wanted: Mapping[str, object]) -> list[str]:
        """Return which of the `wanted` reports are not there, or are not as they should be."""
        member = self._members[worker]
        if member.offence is not None:
            # It is named in the end; the others go on without it.
            return []
        texts = []
        for key, expected in wanted.items():
            if key not in member.reports:
                texts.append(f"{worker} has not reported {key!r}")
            elif expected is not ANYTHING and (differs := difference_of(expected, member.reports[key])):
                texts.append(f"{worker} reported {key!r}: {differs}")
        return texts
