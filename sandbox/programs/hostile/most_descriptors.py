"""Sends as many descriptors as the kernel carries in one connect message: it is refused, and all are closed."""

from sandbox.abi import KERNEL_DESCRIPTORS_MAX
from sandbox.programs.hostile.means import attack, ends
from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Send them once."""
    with attack(worker) as victim, ends() as (theirs, _):
        victim.send(fds=[theirs] * KERNEL_DESCRIPTORS_MAX)
