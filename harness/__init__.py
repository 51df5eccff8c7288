"""The trusted side: topologies, the supervisor that plays sel_ldr, and what it says about a run."""

from harness.outcome import Outcome, Status, WorkerOutcome
from harness.supervisor import run_topology

__all__ = ["Outcome", "Status", "WorkerOutcome", "run_topology"]
