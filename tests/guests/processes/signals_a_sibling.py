"""Signals a sibling by tgkill(2), which threads need and seccomp lets pass."""

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import call, company
from tests.guests.guest import Guest, reported

# Behind Landlock's scope is, as root, a uid of its own.
GUEST = Guest(
    Layer.LANDLOCK,
    strict="EPERM",
    without={"landlock": "EPERM", "landlock own_uid": "success"},
    user={"landlock": "success"},
    company=("victim",),
)


@reported
def main(worker: Worker) -> None:
    """Ask whether it may (signal 0)."""
    facts, _ = company(worker, "victim")
    call("tgkill", facts["pid"], facts["pid"], 0)
