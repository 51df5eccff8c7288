"""Reads the supervisor's environment beneath a /proc that an unconfined worker gave it."""

import os

from sandbox.confinement.policy import Layer
from sandbox.worker import Worker
from tests.guests.attempt import company
from tests.guests.guest import Guest, reported

# Behind Landlock, the kernel asks whether one may trace the other, and the guest may trace nobody.
# Unconfined, a user's workers are in the run's user namespace, from which there is no looking into the supervisor's.
GUEST = Guest(
    Layer.LANDLOCK,
    strict="EACCES",
    without={"landlock own_uid": "EACCES"},
    user={"control": "EACCES"},
    company=("accomplice",),
)


@reported
def main(worker: Worker) -> None:
    """Open it."""
    _, (fd,) = company(worker, "accomplice", "/proc")
    os.close(os.open(f"{worker.args['supervisor']}/environ", os.O_RDONLY, dir_fd=fd))
