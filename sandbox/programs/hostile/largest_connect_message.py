"""Sends a connect message of 128 KiB and one byte: it is refused, and what is too much of it is never held."""

from sandbox.abi import CONNECT, USER_BYTES_MAX
from sandbox.programs.hostile.means import attack, ends
from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Send it once."""
    with attack(worker) as victim, ends() as (theirs, _):
        victim.send(CONNECT * (USER_BYTES_MAX + 1), [theirs])
