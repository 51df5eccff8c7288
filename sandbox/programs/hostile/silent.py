"""Connects again and again, keeps the other ends, says nothing and reads nothing: it holds up itself alone."""

from sandbox.programs.hostile.means import attack, offer
from sandbox.worker import Worker

CONNECTIONS = 40


def main(worker: Worker) -> None:
    """Keep all of them to the end; an acknowledgement is not read either."""
    with attack(worker) as victim:
        worker.report("kept", len([offer(victim) for _ in range(CONNECTIONS)]))
