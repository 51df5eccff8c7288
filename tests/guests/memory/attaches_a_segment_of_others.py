"""Attaches shared memory of the host's (SysV)."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call
from tests.guests.guest import Guest, reported

# Behind seccomp is the run's IPC namespace, in which there is no such number, and, as root, a uid of its own.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "EINVAL", "seccomp ipc_namespace": "EACCES", "seccomp ipc_namespace own_uid": "success"},
    user={"seccomp ipc_namespace": "success"},
)

SHM_RDONLY = 0o10000  # linux/shm.h


@reported
def main(worker: Worker) -> None:
    """Attach it."""
    call("shmat", worker.args["segment"], None, SHM_RDONLY)
