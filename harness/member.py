"""One worker of a run, as the supervisor holds it: its process, its control channel, its output, what it said."""

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any, Final

from harness import events
from harness.capture import Capture
from harness.control_channel import ControlChannel, Offence
from harness.outcome import WorkerOutcome, describe_exit
from harness.plan import EXPORTED, WorkerPlan
from harness.spawn import Process, Zygote
from harness.waiting import fail, settle
from sandbox.abi import CONTROL_CHANNEL, SERVICE_PORT, SERVICE_PORT_ADDRESS
from sandbox.descriptors import ConnectedSocket
from sandbox.errors import EndOfStream
from sandbox.imc import Imc
from sandbox.transport import seqpacket_pair

# After SIGKILL nothing but the kernel has to act.
REAPED_SECONDS: Final = 10.0
# Between the end of a worker's control channel and the news of its exit.
EXIT_TOLD_SECONDS: Final = 0.5


class Ended(Exception):
    """The worker ended, or was ended for an offence, while something was expected of it."""


class Journal:
    """The events of a run, in the order in which they were learned."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []
        self._began = time.monotonic()

    def add(self, kind: type[events.Event], **facts: Any) -> None:
        """Write down that this happened now."""
        self.events.append(kind(at=time.monotonic() - self._began, **facts))


class Member:
    """A worker from its start to its end. `offence` is the rule that it broke; `overstayed`: it had to be killed."""

    def __init__(self, plan: WorkerPlan, journal: Journal) -> None:
        self.plan = plan
        self.exit_status: int | None = None
        self.offence: str | None = None
        self.stopping = False
        self.overstayed = False
        self._journal = journal
        self._exported = False
        self._reports: dict[str, object] = {}
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._answer: asyncio.Future[Mapping[str, Any]] | None = None
        self._process: Process | None = None
        self._channel: ControlChannel | None = None
        self._identity = ""
        self._stdout = Capture()
        self._stderr = Capture()

    # Life

    async def start(self, zygote: Zygote, folder: str, table: Mapping[int, int], identity: str) -> None:
        """Have the zygote fork it, with what routing put into `table` (number → fd, borrowed).

        `identity` is that of its own address, which it may export. Raises ZygoteError, OSError.
        """
        self._identity = identity
        stdout, stderr = self._stdout.open(), self._stderr.open()
        ours, theirs = map(ConnectedSocket, seqpacket_pair())
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            whole = {
                0: nothing,
                1: stdout,
                2: stderr,
                SERVICE_PORT: nothing,
                SERVICE_PORT_ADDRESS: nothing,
                CONTROL_CHANNEL: theirs.fileno(),
                **table,
            }
            self._process = await zygote.spawn(self._manifest(folder), whole)
        except BaseException:
            ours.close()
            raise
        finally:
            os.close(nothing)
            theirs.close()
            self._stdout.close_writer()
            self._stderr.close_writer()
        self._journal.add(events.WorkerStarted, worker=self.plan.name, pid=self._process.pid)
        self._process.exited.add_done_callback(self._ended)
        # Only now: whatever it says, there is a process to act upon.
        self._channel = ControlChannel(Imc(self.plan.protocol), ours, self)

    def _manifest(self, folder: str) -> dict[str, Any]:
        """Return what `sandbox.zygote` tells the worker of itself."""
        return {
            "name": self.plan.name,
            "program": self.plan.program,
            "path": [folder],
            "protocol": self.plan.protocol,
            "service_port": self.plan.service_port,
            "imports": [grant.name for grant in self.plan.grants],
            "args": self.plan.args,
            "env": self.plan.env,
        }

    def _ended(self, exited: asyncio.Future[int]) -> None:
        if self._channel is not None:
            # What it said last may have arrived after its death did.
            self._channel.read()
        if exited.cancelled() or exited.exception() is not None:
            reason = "was lost"
        else:
            self.exit_status = exited.result()
            self._journal.add(events.WorkerExited, worker=self.plan.name, exit_status=self.exit_status)
            reason = describe_exit(self.exit_status)
        self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """Let whoever waits for this worker know that it waits in vain."""
        fail(self._ready, Ended(reason))
        if self._answer is not None:
            fail(self._answer, Ended(reason))

    @property
    def was_ready(self) -> bool:
        """Whether it announced itself."""
        return self._ready.done() and self._ready.exception() is None

    async def wait_until_ready(self) -> None:
        """Wait for its announcement. Raises Ended, TimeoutError."""
        await asyncio.wait_for(asyncio.shield(self._ready), self.plan.ready_within)

    async def exited(self) -> int:
        """Wait until it was reaped and return its exit status. Raises ZygoteError."""
        assert self._process is not None  # noqa: S101 - it was started
        return await asyncio.shield(self._process.exited)

    async def perform(self, step: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have it perform a step, and return the result as it tells it. Raises Ended."""
        assert self._channel is not None  # noqa: S101 - it was started
        if self.exit_status is not None or self.offence is not None:
            raise Ended(self.offence or describe_exit(self.exit_status))
        self._answer = asyncio.get_running_loop().create_future()
        try:
            try:
                await self._channel.ask(step)
            except EndOfStream:
                self.closed()
            return await self._answer
        finally:
            self._answer = None

    def kill(self, reason: str) -> None:
        """Send SIGKILL, if it still runs."""
        if self._process is not None and not self._process.exited.done():
            self._journal.add(events.WorkerKilled, worker=self.plan.name, reason=reason)
            self._process.kill()

    async def stop(self) -> None:
        """End its control channel, and kill it where it does not stop in time. Raises ZygoteError."""
        self.stopping = True
        if self._channel is not None:
            self._channel.end()
        try:
            await asyncio.wait_for(self.exited(), self.plan.stop_within)
        except TimeoutError:
            self.overstayed = True
            self.kill(f"it did not stop within {self.plan.stop_within:g} s")
            await self.exited()

    async def bury(self) -> None:
        """Whatever state it is in, have it ended."""
        self.stopping = True
        if self._process is not None:
            self.kill("the run is over")
            await asyncio.wait([self._process.exited], timeout=REAPED_SECONDS)

    def close(self) -> None:
        """Close what is left of it, once its processes are gone."""
        if self._channel is not None:
            self._channel.close()
        self._stdout.finish()
        self._stderr.finish()

    def outcome(self) -> WorkerOutcome:
        """Return what became of it."""
        stdout, stderr = self._stdout.output(), self._stderr.output()
        return WorkerOutcome(self.plan.name, self.exit_status, stdout, stderr, self._reports, self.offence)

    # What it says (control_channel.Listener)

    def exported(self, identity: str) -> None:
        """Take note of its export, where it is the address that we made for it."""
        if self.plan.service_port != EXPORTED or self._exported or identity != self._identity:
            raise Offence("an address that is not its service port's, or not to be exported")
        self._exported = True
        self._journal.add(events.AddressExported, worker=self.plan.name)

    def announced(self) -> None:
        """Take note that it is ready."""
        if self.plan.service_port == EXPORTED and not self._exported:
            raise Offence("an announcement before the address was exported")
        if self._ready.done():
            raise Offence("a second announcement")
        settle(self._ready, None)
        self._journal.add(events.WorkerReady, worker=self.plan.name)

    def reported(self, key: str, value: object) -> None:
        """Keep a fact; a later one of the same key replaces it."""
        self._reports[key] = value
        self._journal.add(events.Reported, worker=self.plan.name, key=key, value=value)

    def answered(self, result: Mapping[str, Any]) -> None:
        """Pass a result to the step that waits for it."""
        if self._answer is None or self._answer.done():
            raise Offence("a result that nobody asked for")
        settle(self._answer, result)

    def closed(self) -> None:
        """Whoever waits for it waits in vain; but if it ended, its exit is about to be told and says more."""
        asyncio.get_running_loop().call_later(EXIT_TOLD_SECONDS, self._give_up, "closed its control channel")

    def offended(self, text: str) -> None:
        """Name it, and end it: it cannot be trusted with anything any more."""
        self.offence = text
        self._journal.add(events.Offence, worker=self.plan.name, text=text)
        self.kill("its offence")
        self._give_up(f"broke the rules of its control channel: {text}")
