"""Lets others look at it again: its memory, its descriptors."""

from sandbox.confinement.confine import PR_SET_DUMPABLE
from sandbox.confinement.kernel import prctl
from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.guest import Guest, reported

GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})


@reported
def main(_: Worker) -> None:
    """Undo what the layer did."""
    prctl(PR_SET_DUMPABLE, 1)
