"""Sends two connections in one connect message: it is refused, and both are closed."""

from sandbox.programs.hostile.means import attack, ends
from sandbox.worker import Worker


def main(worker: Worker) -> None:
    """Send them; at the other ends it can be seen that nobody holds them."""
    with attack(worker) as victim, ends() as pair:
        victim.send(fds=pair)
