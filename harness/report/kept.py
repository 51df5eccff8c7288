"""What a run that did not pass leaves for whoever looks into it: the report, and each worker's output, as files."""

from pathlib import Path

from harness.outcome import Outcome
from harness.plan import Plan
from harness.report.text import failure


def keep(folder: Path, plan: Plan, outcome: Outcome) -> str:
    """Write report.txt and, of each worker that wrote any, worker.stdout and worker.stderr. Returns the report."""
    report = f"{failure(plan, outcome)}\nkept in: {folder}"
    (folder / "report.txt").write_text(f"{report}\n", encoding="utf-8", errors="backslashreplace")
    for worker in outcome.workers.values():
        for name, output in (("stdout", worker.stdout), ("stderr", worker.stderr)):
            if output.size:
                (folder / f"{worker.name}.{name}").write_bytes(output.content)
    return report
