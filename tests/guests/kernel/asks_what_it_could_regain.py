"""Asks which capabilities a program that it executes could have (the bounding set)."""

from sandbox.confinement.kernel import prctl
from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# Behind seccomp: none.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "none", "seccomp capabilities": "success"},
)

PR_CAPBSET_READ = 23  # linux/prctl.h
CAPABILITIES = range(32)


@reported
def main(_: Worker) -> str:
    """Return success where there is one."""
    return "success" if any(prctl(PR_CAPBSET_READ, capability) for capability in CAPABILITIES) else "none"
