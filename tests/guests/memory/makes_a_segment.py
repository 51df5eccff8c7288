"""Makes shared memory that outlives it (SysV)."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# Without seccomp it is one in the run's IPC namespace, and ends with that.
GUEST = Guest(Layer.SECCOMP, strict="EPERM", without={"seccomp": "success"})

IPC_PRIVATE = 0  # linux/ipc.h
IPC_RMID = 0


@reported
def main(_: Worker) -> None:
    """Make a segment, and remove it."""
    segment = call("shmget", IPC_PRIVATE, 4096, 0o600)
    call("shmctl", segment, IPC_RMID, None)
