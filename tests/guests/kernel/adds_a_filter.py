"""Has the kernel ask a filter of its own, which could lie to libraries."""

from sandbox.confinement import seccomp
from sandbox.confinement.policy import Layer
from sandbox.confinement.probe import ALLOW_ALL
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

# It would take nothing of ours away: all filters have to agree.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Load one that allows everything."""
    seccomp.Program(ALLOW_ALL).load()
