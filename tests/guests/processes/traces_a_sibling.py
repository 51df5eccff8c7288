"""Traces a sibling, as a debugger does."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call, company
from tests.guests.guest import Guest, reported

# Behind seccomp are Landlock, by which no two workers may trace each other, dumpable, and user namespaces.
GUEST = Guest(Layer.SECCOMP, strict="SIGSYS", without={"seccomp": "EPERM"}, company=("victim",))

PTRACE_SEIZE = 0x4206  # linux/ptrace.h


@reported
def main(worker: Worker) -> None:
    """Seize it, without stopping it."""
    facts, _ = company(worker, "victim")
    call("ptrace", PTRACE_SEIZE, facts["pid"], 0, 0)
