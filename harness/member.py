"""One worker of a run, as the supervisor holds it: its process, its control channel, its output, what it said."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from harness import events
from harness.capture import Capture
from harness.confinement import Assignment
from harness.control_channel import ControlChannel, Offence
from harness.inspection import Subject, has_ended
from harness.inspection.processes import identity_at
from harness.inspection.wiring import Named, named_by
from harness.journal import Journal
from harness.outcome import Failure, WorkerOutcome, describe_exit
from harness.plan import EXPORTED, MAIN, Own, Readiness, StepPlan, WorkerPlan
from harness.quotas import MIB, OUTPUT_BYTES, REFUSED_CONNECTS_MAX
from harness.refusals import RefusedCalls
from harness.routing import Routing
from harness.spawn import Process, Zygote
from harness.undertaker import Undertaker
from harness.waiting import fail, settle
from sandbox import control
from sandbox.abi import SERVICE_PORT, SERVICE_PORT_ADDRESS
from sandbox.confinement.policy import Layer, in_their_order
from sandbox.descriptors import ConnectedSocket, SocketAddress, identity_of
from sandbox.transport import seqpacket_pair

# After SIGKILL nothing but the kernel has to act.
REAPED_SECONDS: Final = 10.0
# Between the end of a worker's control channel and the news of its exit.
EXIT_TOLD_SECONDS: Final = 0.5
# For how long a process id that is free again may still be the sender of something that was not read yet.
LAST_HEARD_SECONDS: Final = 0.5
PF_EXITING: Final = 0x4  # linux/sched.h
STOPPED_LOOK_SECONDS: Final = 0.001


class Ended(Exception):
    """The worker ended, or was ended for an offence, while something was expected of it."""


class Member:
    """A worker from its start to its end. `reports` is what it reported, `offence` the rule of `rules` that it broke.

    `overstayed`: it had to be killed at the end of the run; `overran`: at the end of its own time.
    """

    def __init__(self, plan: WorkerPlan, journal: Journal, routing: Routing, undertaker: Undertaker) -> None:
        self.plan = plan
        self.exit_status: int | None = None
        self.offence: str | None = None
        self.rules = "its control channel"
        self.stopping = False
        self.overstayed = False
        self.overran = False
        self.reports: dict[str, object] = {}
        self._layers: frozenset[Layer] = frozenset()
        self._without: frozenset[Layer] = frozenset()
        self._refusals: Counter[events.Refusal] = Counter()
        self._was_confined = False
        self._gone_at: float | None = None
        self._refused_calls: RefusedCalls | None = None
        self._failure: Failure | None = None
        self._journal = journal
        self._routing = routing
        self._undertaker = undertaker
        self._exported: set[str] = set()
        self._owes_own_address = plan.service_port == EXPORTED
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._answer: asyncio.Future[Mapping[str, Any]] | None = None
        self._unanswered = 0
        self._refused_connects = 0
        # Those that others sent over a facet of its, by the name that it has for it; and those that we lost.
        self._refused_of_others: Counter[str] = Counter()
        self._lost_connects = 0
        self._process: Process | None = None
        self._is_paused = False
        # What orphans of its write when the run is decided decides nothing.
        self._is_over = False
        self._time: asyncio.TimerHandle | None = None
        # Set at each news that somebody may have waited for: a report, the end.
        self._news = asyncio.Event()
        self._channel: ControlChannel | None = None
        self._identity = ""
        # What it has for a descriptor, by identity: what it started with, was granted, and made by its steps.
        self._named: dict[str, Named] = {}
        self._granted: set[str] = set()
        self._output_left = OUTPUT_BYTES if plan.limits.output is None else plan.limits.output
        self._stdout = Capture(self._wrote)
        self._stderr = Capture(self._wrote)

    # Life

    async def start(self, zygote: Zygote, assigned: Assignment) -> None:
        """Have the zygote fork it, with the descriptors that the plan says. Raises ZygoteError, OSError."""
        with ExitStack() as held:
            ours, theirs = (held.enter_context(ConnectedSocket(end)) for end in seqpacket_pair())
            nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            held.callback(os.close, nothing)
            own = {
                Own.NOTHING: nothing,
                Own.STDOUT: self._stdout.open(),
                Own.STDERR: self._stderr.open(),
                Own.CONTROL_CHANNEL: theirs.fileno(),
            }
            held.callback(self._stdout.close_writer)
            held.callback(self._stderr.close_writer)
            for end in (ours, theirs):
                self._routing.keep_out(identity_of(end.fileno()))
            routed = self._routing.table(self.plan.name)
            table = {
                slot.number: routed[slot.number] if slot.number in routed else own[slot.origin]  # type: ignore[index]
                for slot in self.plan.slots
            }
            self._named = {
                identity_at(f"/proc/self/fd/{table[slot.number]}"): Named(slot.name, slot.kind)
                for slot in self.plan.slots
                if slot.origin is not Own.NOTHING
            }
            if self.plan.service_port == EXPORTED:
                with SocketAddress(os.dup(table[SERVICE_PORT_ADDRESS])) as address:
                    self._identity = address.identity()
            told = manifest(self.plan, assigned.folder)
            self._process = await zygote.spawn(assigned.terms, told, table, self._confined)
            self._layers, self._without = assigned.layers, assigned.without
            self._routing.started(self.plan.name)
            # Only now: whatever it says, there is a process to act upon.
            self._journal.add(events.WorkerStarted, worker=self.plan.name, pid=self._process.pid)
            sock = ConnectedSocket(ours.take())
            self._channel = ControlChannel(self.plan.protocol, self.plan.layout, sock, self, self._undertaker)
        self._process.exited.add_done_callback(self._ended)
        if self.plan.ready_by is Readiness.START:
            self._become_ready()

    def _confined(self, listeners: Sequence[int]) -> None:
        """Take note that all its layers are on; answer for the calls that its list refuses, where that can be heard."""
        self._was_confined = True
        for listener in listeners:
            self._refused_calls = RefusedCalls(
                listener, lambda call: self._refuse(events.Refusal(call, "EPERM", Layer.SECCOMP.value))
            )

    def began(self) -> None:
        """Let its own time begin."""
        if self.plan.limits.wall is not None:
            self._time = asyncio.get_running_loop().call_later(self.plan.limits.wall, self._overrun)

    def _overrun(self) -> None:
        if self.exit_status is None:
            self.overran = True
            self.kill(f"it ran longer than its limit of {self.plan.limits.wall:g} s")

    def deliver(self, name: str, address: SocketAddress) -> None:
        """Grant it an address, which this takes over, by a message."""
        if self._channel is None or self.exit_status is not None or self.offence is not None:
            address.close()
        else:
            identity = address.identity()
            self._journal.add(events.AddressGranted, worker=self.plan.name, name=name, identity=identity)
            self._granted.add(name)
            self._named[identity] = Named(name, "SocketAddress")
            self._channel.tell(name.encode(), address)

    def subject(self, pending: StepPlan | None, *, obeys: bool) -> Subject:
        """Return what is to be known for whoever looks at it. `pending` is its step now; `obeys`: it has any at all."""
        return Subject(
            name=self.plan.name,
            process=self._process,
            python=not self.plan.command,
            step=pending.text if pending else "",
            named=dict(self._named),
            owed=tuple(self._owed(pending, obeys=obeys)),
            stdout=self._stdout,
            stderr=self._stderr,
        )

    def _owed(self, pending: StepPlan | None, *, obeys: bool) -> Iterator[tuple[str, str]]:
        """Yield exporter and export of each address that it looks for now, and that nobody has exported yet.

        Between its steps a worker looks for the next one; one that has none may look for anything.
        """
        for grant in self.plan.late:
            needed = grant.name in names_in(pending.body) if pending else not obeys
            if needed and grant.name not in self._granted:
                yield grant.exporter, grant.export

    def _ended(self, exited: asyncio.Future[int]) -> None:
        if self._channel is not None:
            # What it said last may have arrived after its death did, and what it wrote.
            self._channel.read()
        self._stdout.catch_up()
        self._stderr.catch_up()
        if exited.cancelled() or exited.exception() is not None:
            reason = "was lost"
        else:
            self.exit_status = exited.result()
            self._gone_at = asyncio.get_running_loop().time()
            self._journal.add(events.WorkerExited, worker=self.plan.name, exit_status=self.exit_status)
            if self.exit_status == -signal.SIGSYS and Layer.SECCOMP in self._layers:
                # Which one, the kernel keeps to itself.
                self._refuse(events.Refusal("a system call that nothing honest makes", "SIGSYS", Layer.SECCOMP.value))
            reason = describe_exit(self.exit_status)
        self._routing.exited(self.plan.name)
        # Whoever is told of its end is to see the ends of its connections, too.
        self._undertaker.close()
        self._give_up(reason)

    def _give_up(self, reason: str) -> None:
        """Let whoever waits for this worker know that it waits in vain."""
        self._news.set()
        fail(self._ready, Ended(reason))
        if self._answer is not None:
            fail(self._answer, Ended(reason))

    @property
    def was_ready(self) -> bool:
        """Whether it announced itself."""
        return self._ready.done() and self._ready.exception() is None

    async def wait_until_ready(self) -> None:
        """Wait for its announcement. Raises Ended, TimeoutError."""
        async with asyncio.timeout(self.plan.ready_within):
            await asyncio.shield(self._ready)

    async def exited(self) -> int:
        """Wait until it was reaped and return its exit status. Raises ZygoteError."""
        assert self._process is not None  # noqa: S101 - it was started
        return await asyncio.shield(self._process.exited)

    async def until_it_cannot_change(self, is_so: Callable[[], bool]) -> None:
        """Wait until what depends on this worker's reports is so, or can be so no more, for it has ended."""
        while not is_so() and self.exit_status is None and self.offence is None:
            self._news.clear()
            await self._news.wait()

    async def perform(self, step: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have it perform a step, and return the result as it tells it. Raises Ended."""
        assert self._channel is not None  # noqa: S101 - it was started
        if self.exit_status is not None or self.offence is not None:
            raise Ended(self.offence or describe_exit(self.exit_status))
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._unanswered += 1
            self._channel.tell(control.encode(control.STEP, step))
            result = await self._answer
            self._named.update(named_by(step, result))
            return result
        finally:
            self._answer = None

    def kill(self, reason: str) -> None:
        """Send SIGKILL, if it still runs."""
        if self._process is not None and not self._process.exited.done():
            self._journal.add(events.WorkerKilled, worker=self.plan.name, reason=reason)
            self._process.kill()

    def pause(self) -> None:
        """Send SIGSTOP, which nobody can ignore."""
        self._signal(signal.SIGSTOP)
        self._is_paused = True

    async def paused(self) -> None:
        """Wait until every thread of it has stopped, or it has ended."""
        assert self._process is not None  # noqa: S101 - it was started
        while self.exit_status is None and not has_stopped(self._process.pid):  # noqa: ASYNC110 - as below
            # Nobody tells but its parent, which is the zygote.
            await asyncio.sleep(STOPPED_LOOK_SECONDS)

    def resume(self) -> None:
        """Send SIGCONT."""
        self._is_paused = False
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and not self._process.exited.done():
            self._journal.add(events.WorkerSignalled, worker=self.plan.name, signal=number.name)
            self._process.send_signal(number)

    def freeze(self) -> None:
        """Have it do nothing any more, while it waits for its end."""
        if self._process is not None and not self._process.exited.done():
            self._process.send_signal(signal.SIGSTOP)

    async def stop(self, look: Callable[[], Awaitable[None]]) -> None:
        """End its control channel, and kill it where it does not stop in time, after a `look`. Raises ZygoteError."""
        self.stopping = True
        if self._is_paused:
            self.resume()
        if self._channel is not None:
            self._channel.end()
        try:
            async with asyncio.timeout(self.plan.stop_within):
                await self.exited()
        except TimeoutError:
            # Where it is we who are late, it may have ended in time.
            if self._process is not None and not has_ended(self._process):
                self.overstayed = True
                await look()
                self.kill(f"it did not stop within {self.plan.stop_within:g} s")
            await self.exited()

    async def bury(self) -> None:
        """Whatever state it is in, have it ended."""
        self.stopping = True
        self._is_over = True
        if self._process is not None:
            self.kill("the run is over")
            await asyncio.wait([self._process.exited], timeout=REAPED_SECONDS)

    def close(self) -> None:
        """Close what is left of it, once its processes are gone."""
        if self._time is not None:
            self._time.cancel()
        if self._channel is not None:
            self._channel.close()
        if self._refused_calls is not None:
            self._refused_calls.close()
        self._stdout.finish()
        self._stderr.finish()

    def outcome(self) -> WorkerOutcome:
        """Return what became of it."""
        stdout, stderr = self._stdout.output(), self._stderr.output()
        return WorkerOutcome(
            self.plan.name,
            self.exit_status,
            stdout,
            stderr,
            self.reports,
            self.offence,
            self.plan.policy.name,
            tuple(layer.value for layer in in_their_order(self._layers)),
            tuple(layer.value for layer in in_their_order(self._without)),
            dict(self._refusals),
            self._refused_calls is not None or not self._was_confined,
            self._failure,
        )

    # What it says (control_channel.Listener)

    def exported(self, name: str, address: SocketAddress) -> None:
        """Grant its export to all that a route grants it to, where the plan has it."""
        if self._owes_own_address and name == MAIN:
            if address.identity() != self._identity:
                raise Offence("an address that is not its service port's")
            # It was granted before the worker ran. One that is granted by messages may export another in its place.
            self._owes_own_address = False
        else:
            self._require_planned(name)
            self._exported.add(name)
            self._routing.exported(self.plan.name, name, address)
        self._journal.add(events.AddressExported, worker=self.plan.name, name=name, identity=address.identity())
        if name == MAIN and self.plan.ready_by is Readiness.EXPORT:
            self._become_ready()

    def _require_planned(self, name: str) -> None:
        """Raise Offence unless the plan lets it export an address under this name."""
        what = repr(name) if name else "its address"
        if name in self._exported:
            raise Offence(f"a second export of {what}")
        if name not in self.plan.exports:
            raise Offence(f"an export of {what}, which no route grants")

    def announced(self) -> None:
        """Take note that it is ready."""
        if self._owes_own_address:
            raise Offence("an announcement before the address was exported")
        if self._ready.done():
            raise Offence("a second announcement")
        self._become_ready()

    def _become_ready(self) -> None:
        settle(self._ready, None)
        self._journal.add(events.WorkerReady, worker=self.plan.name)

    def reported(self, key: str, value: object) -> None:
        """Keep a fact; a later one of the same key replaces it."""
        self.reports[key] = value
        self._news.set()
        self._journal.add(events.Reported, worker=self.plan.name, key=key, value=value)

    def refused(self, call: str, error: str) -> None:
        """Take note of what it says that its profile kept from it."""
        self._refuse(events.Refusal(call, error))

    def _refuse(self, refusal: events.Refusal) -> None:
        """Count a refusal, and take down the first of each kind."""
        self._refusals[refusal] += 1
        if self._refusals[refusal] == 1:
            self._journal.add(events.Refused, worker=self.plan.name, refusal=refusal)

    def failed(self, error: str, path: str) -> None:
        """Keep what it says that ended it."""
        self._failure = Failure(error, path)

    def answered(self, result: Mapping[str, Any]) -> None:
        """Pass a result to the step that waits for it."""
        if not self._unanswered:
            raise Offence("a result that nobody asked for")
        self._unanswered -= 1
        # Whoever asked may have given up meanwhile, with the run or for a deadline.
        if self._answer is not None:
            settle(self._answer, result)

    def closed(self) -> None:
        """If it ended, its exit is about to be told and says more; if it goes on, nobody can reach it any more."""
        if not self.stopping:
            asyncio.get_running_loop().call_later(EXIT_TOLD_SECONDS, self._went_on)

    def _went_on(self) -> None:
        if self.exit_status is not None or self._process is None:
            return
        if is_ending(self._process.pid):
            # On a busy machine its end takes its time, or the news of it does.
            asyncio.get_running_loop().call_later(EXIT_TOLD_SECONDS, self._went_on)
        else:
            self.offended("it closed its control channel and went on")

    def offended(self, text: str, rules: str = "its control channel") -> None:
        """Name it, and end it: it cannot be trusted with anything any more."""
        if self.offence is None:
            self.offence = text
            self.rules = rules
            self._journal.add(events.Offence, worker=self.plan.name, rules=rules, text=text)
            self.kill("its offence")
            self._give_up(f"broke the rules of {rules}: {text}")

    def _wrote(self, size: int) -> None:
        """Count what it, or whoever has its stdout or stderr of it, has written."""
        self._output_left -= size
        if self._output_left < 0 and self.offence is None and not self._is_over:
            most = OUTPUT_BYTES if self.plan.limits.output is None else self.plan.limits.output
            told = f"{most / MIB:g} MiB" if most >= MIB else f"{most} bytes"
            self.offended(f"more than {told} of output", "its output")
            # It may have left the pipes to others, who go on.
            self._stdout.finish()
            self._stderr.finish()

    # What it does to facets

    def is_process(self, pid: int) -> bool:
        """Say whether this is its process. What it did last is heard a moment later; then its number is anybody's."""
        is_gone = self._gone_at is not None and asyncio.get_running_loop().time() > self._gone_at + LAST_HEARD_SECONDS
        return self._process is not None and self._process.pid == pid and not is_gone

    def refused_connect(self, text: str) -> None:
        """Take note of a connect message of its that was not passed on; a flood of them is an offence."""
        self._refused_connects += 1
        if self._refused_connects <= REFUSED_CONNECTS_MAX:
            self._journal.add(events.ConnectRefused, worker=self.plan.name, text=text)
        else:
            self.offended(
                f"more than {REFUSED_CONNECTS_MAX} connect messages that were refused, at last {text}", "connecting"
            )

    def refused_connect_of(self, other: str | None, facet: str, text: str) -> bool:
        """Take note of one that another worker, or none, sent over this facet of its; say whether it is a flood.

        Who sends them is no offender: it may have been told that what it writes to is a pipe. Nor is who passed it on.
        """
        self._refused_of_others[facet] += 1
        sender = "which no worker sent" if other is None else f"sent by {other}"
        if self._refused_of_others[facet] <= REFUSED_CONNECTS_MAX:
            self._journal.add(events.ConnectRefused, worker=self.plan.name, text=f"{text}, {sender}")
            return False
        why = f"more than {REFUSED_CONNECTS_MAX} connect messages that were refused, at last {text}, {sender}"
        self._journal.add(events.FacetShut, worker=self.plan.name, name=facet, text=why)
        return True

    def lost_connect(self, text: str) -> None:
        """Take note of one that was lost for a lack of ours; of many, of the first few."""
        self._lost_connects += 1
        if self._lost_connects <= REFUSED_CONNECTS_MAX:
            self._journal.add(events.ConnectRefused, worker=self.plan.name, text=text)


def names_in(body: Mapping[str, Any]) -> set[str]:
    """Return all that a step may mean by the name that it has for a descriptor."""
    return {value for value in body.values() if isinstance(value, str)} | set(body.get("descriptors", ()))


def manifest(plan: WorkerPlan, folder: str) -> dict[str, Any]:
    """Return what `sandbox.start` tells a worker of itself."""
    told: dict[str, Any] = {
        "name": plan.name,
        "protocol": plan.protocol,
        "layout": plan.layout,
        "descriptors": [[slot.number, slot.name, slot.kind] for slot in plan.slots if slot.number >= SERVICE_PORT],
        "exports": plan.service_port == EXPORTED,
        "env": plan.env,
    }
    if plan.command:
        return told | {"command": plan.command, "folder": folder, "listens": True, "invalid": None}
    return told | {
        "program": plan.program,
        "path": [folder],
        "argv": [plan.program],
        "args": plan.args,
        "late": [grant.name for grant in plan.late],
        "supervised": True,
    }


def has_stopped(pid: int) -> bool:
    """Say whether every thread of this process has stopped, or it is gone."""
    return all(status[0] in "TtZX" for status in statuses(pid))


def is_ending(pid: int) -> bool:
    """Say whether no thread of this process runs any line of its program any more, or it is gone."""
    return all(int(status[6]) & PF_EXITING for status in statuses(pid))


def statuses(pid: int) -> list[list[str]]:
    """Return what the kernel tells of each thread of a process, from its state on (proc_pid_stat(5)); none if gone."""
    try:
        return [
            (task / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            for task in Path(f"/proc/{pid}/task").iterdir()
        ]
    except OSError:
        return []
