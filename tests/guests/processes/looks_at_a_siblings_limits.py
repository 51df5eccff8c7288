"""Asks for a limit of a sibling's; who may ask may lower it too, until the sibling dies of it."""

import ctypes
import resource

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call, company
from tests.guests.guest import Guest, reported

# Behind seccomp is, as root, a uid of its own; a user's workers have nothing else.
GUEST = Guest(
    Layer.SECCOMP,
    strict="EPERM",
    without={"seccomp": "EPERM", "seccomp own_uid": "success"},
    user={"seccomp": "success"},
    company=("victim",),
)


@reported
def main(worker: Worker) -> None:
    """Ask, and change nothing."""
    facts, _ = company(worker, "victim")
    call("prlimit64", facts["pid"], resource.RLIMIT_NOFILE, None, ctypes.create_string_buffer(16))
