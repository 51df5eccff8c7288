"""The trusted side: topologies, the supervisor that plays sel_ldr, and what it says about a run."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.outcome import Outcome, Status, WorkerOutcome
    from harness.supervisor import run_topology

__all__ = ["Outcome", "Status", "WorkerOutcome", "run_topology"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and no more: who loads one module needs no topologies."""
    if name == "run_topology":
        from harness import supervisor  # noqa: PLC0415 - as above

        return supervisor.run_topology
    if name in __all__:
        from harness import outcome  # noqa: PLC0415

        return getattr(outcome, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
