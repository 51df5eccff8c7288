"""The command `imclab`.

Exit status: 0 passed, 1 an expectation failed, 64 the topology (or the command line) is wrong, 69 the kernel lacks a
required layer, 70 our own bug, 124 a deadline passed, 130 interrupted; of several cells the first that occurred in the
order 70, 130, 69, 64, 124, 1, 0.
"""

import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from harness import loader
from harness.doctor import examine, is_complete, report
from harness.errors import MissingLayerError, Problem, TopologyError, UsageError
from harness.files import require_writable, write_text
from harness.interrupts import Interrupts
from harness.outcome import Outcome, Status, worst
from harness.plan import Plan
from harness.planner import plans_of, profiles_of
from harness.planner.profiles import BY_TIGHTNESS, TIGHTEST
from harness.report.plan import described
from harness.report.profile import portrait
from harness.report.text import account, failure, summary
from harness.supervisor import refusal, supervise_all
from harness.topology import SUFFIX, declares
from harness.topology.load import LONE_SURROGATE, scalar
from harness.topology.mistakes import nearest
from harness.topology.schema import schema_text
from sandbox.confinement.policy import PROFILES
from sandbox.protocols import PROTOCOLS

# typer's own word for a command line that it does not understand. Some versions bring their own click along and raise
# its exceptions, so the installed click's would be the wrong ones; what typer exports is derived from the right one.
NotUnderstood: Final = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])

PROTOCOL: Final = "protocol"

interrupts = Interrupts()
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Files = Annotated[list[Path], typer.Argument(metavar="FILE|DIR…", help="Topology files, or folders of *.imclab.yaml.")]
Protocol = Annotated[str | None, typer.Option(metavar="P", help="Only the cells whose protocol is P.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Replace a variable, or choose a value of an axis of the matrix."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan of each run, and start nothing.")]
Jobs = Annotated[int, typer.Option("-j", metavar="N", min=1, help="So many runs at the same time.")]
Only = Annotated[list[str] | None, typer.Option(metavar="FIGURE", help="Only this figure; may be said of several.")]
Suite = Annotated[bool, typer.Option("--suite", help="Measure the test suite, too.")]
JsonFile = Annotated[Path, typer.Option(metavar="FILE", help="Where every round is written to.")]
SvgFile = Annotated[Path, typer.Option(metavar="FILE", help="Where the curve of growth is drawn.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell what happened in each run.")]


@app.callback()
def imclab() -> None:
    """Test systems of several untrusted processes that hold descriptors and no names."""


@app.command()
def run(
    files: Files,
    protocol: Protocol = None,
    set_: Set = None,
    verbose: Verbose = False,
    dry_run: DryRun = False,
    jobs: Jobs = 1,
) -> None:
    """Run every cell of every file, and tell how each ended, in the order of the files."""
    plans = planned(files, chosen(protocol, set_))
    if dry_run:
        typer.echo("\n\n".join(map(described, plans)))
        raise typer.Exit(worst([status_before(plan) for plan in plans]).exit_code)
    statuses = list[Status]()

    def tell(plan: Plan, outcome: Outcome) -> None:
        statuses.append(outcome.status)
        typer.echo(f"{account(plan, outcome)}\n" if verbose and outcome.passed else summary(outcome))
        if not outcome.passed:
            typer.echo(failure(plan, outcome), err=True)

    interrupts.run(supervise_all(plans, jobs, tell))
    raise typer.Exit(worst(statuses).exit_code)


@app.command()
def check(files: Files, protocol: Protocol = None, set_: Set = None) -> None:
    """Say what is wrong with the files, and start nothing."""
    plans = planned(files, chosen(protocol, set_))
    for plan in plans:
        outcome = refusal(plan)
        typer.echo(f"{plan.cell}: ok" if outcome is None else summary(outcome))
    raise typer.Exit(worst([status_before(plan) for plan in plans]).exit_code)


@app.command()
def compare(
    explain: Annotated[
        str | None, typer.Option(metavar="PROPERTY", help="All there is to know of one property, and its evidence.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, evidence and all.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print it as README has it.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as a page, too.")] = None,
    jobs: Annotated[int, typer.Option("-j", metavar="N", min=1, help="So many runs at the same time.")] = 4,
) -> None:
    """Measure what each protocol promises, costs and breaks, in a table of properties and protocols."""
    # Nobody else needs what draws tables.
    from harness.compare import page, settings, table, text  # noqa: PLC0415

    require_writable(*([] if html is None else [html]))
    if as_json and as_markdown:
        raise UsageError("--json and --markdown: one of them")
    properties = table.chosen(explain)
    runs = interrupts.run(table.run_all(table.experiments(properties), jobs))
    measured = table.table_of(properties, runs, settings.kernel(), settings.settings())
    if as_json:
        typer.echo(text.as_json(measured))
    elif as_markdown:
        typer.echo(text.as_markdown(text.shown_cells(measured)))
    else:
        typer.echo(text.as_text(measured) if explain is None else text.explained(measured))
    if html is not None:
        write_text(html, page.as_html(measured))
    for plan, outcome in runs:
        if not outcome.passed:
            typer.echo(failure(plan, outcome), err=True)
    raise typer.Exit(worst([outcome.status for _, outcome in runs]).exit_code)


@app.command()
def schema() -> None:
    """Print the JSON schema of topology files, for editors."""
    typer.echo(schema_text(), nl=False)


@app.command()
def profile(
    name: Annotated[str, typer.Argument(metavar="NAME", help="none, descriptors, strict, names, or one of FILE's.")],
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="A topology file with profiles.")] = None,
) -> None:
    """Print what a profile is: its layers, its limits, and what becomes of each system call."""
    policies = PROFILES if file is None else profiles_of(file)
    if name == TIGHTEST:
        raise UsageError(f"{TIGHTEST} is no profile of its own: it chooses {' or '.join(BY_TIGHTNESS)}")
    if name not in policies:
        raise UsageError(f"unknown profile {name!r}{nearest(name, policies)}")
    typer.echo(portrait(policies[name]))


@app.command()
def doctor() -> None:
    """Try each layer of confinement, and tell which work here, and for whom; 69 where one is missing."""
    findings = examine()
    typer.echo(report(findings))
    raise typer.Exit((Status.PASSED if is_complete(findings) else Status.UNSUPPORTED).exit_code)


@app.command("sel-ldr", add_help_option=False, context_settings={"ignore_unknown_options": True})
def sel_ldr(arguments: Annotated[list[str] | None, typer.Argument(metavar="[OPTION…] -- MODULE ARG…")] = None) -> None:
    """Load one module as sel_ldr does; its options are sel_ldr's own (without a module: what they are)."""
    raise typer.Exit(loader.main(arguments or ()))


@app.command()
def bench(
    only: Only = None,
    suite: Suite = False,
    json: JsonFile = Path("bench.json"),
    svg: SvgFile = Path("bench.svg"),
) -> None:
    """Measure what workers, messages and topologies cost, each beside a peer: minutes; 69 where a figure cannot be."""
    # Nothing else needs what the peers are made of.
    from harness.bench import figures, files, table  # noqa: PLC0415
    from harness.bench.machine import machine  # noqa: PLC0415

    names = figures.chosen(only or (), with_suite=suite)
    require_writable(json, svg)
    if json.resolve() == svg.resolve():
        raise UsageError(f"--json and --svg: two files, not twice {json}")
    measured_on = machine()
    lines, complete = interrupts.run(figures.measured(names, lambda name: typer.echo(f"{name} …", err=True)))
    # Before anything is told, which may fail: it took minutes.
    written = files.write(measured_on, lines, json, svg)
    typer.echo(table.table(measured_on, lines))
    typer.echo(f"\nwritten: {', '.join(map(str, written))}")
    raise typer.Exit((Status.PASSED if complete else Status.UNSUPPORTED).exit_code)


def status_before(plan: Plan) -> Status:
    """Return what is known of how a run ends before it begins: PASSED where it may begin."""
    outcome = refusal(plan)
    return Status.PASSED if outcome is None else outcome.status


def chosen(protocol: str | None, assignments: Iterable[str] | None) -> dict[str, Any]:
    """Return the variables and axes that the command line decides. Raises UsageError."""
    values: dict[str, Any] = {} if protocol is None else {PROTOCOL: protocol}
    for assignment in assignments or ():
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {assignment}: write NAME=VALUE")
        if LONE_SURROGATE.search(assignment):
            raise UsageError("--set: write it in UTF-8")
        values[name] = scalar(text)
    return values


def planned(paths: Iterable[Path], values: dict[str, Any]) -> list[Plan]:
    """Return the plan of every cell of every file. Raises TopologyError with the mistakes of all files."""
    plans: list[Plan] = []
    problems: list[Problem] = []
    for file in found(paths):
        try:
            plans += plans_speaking(file, values)
        except TopologyError as error:
            problems += error.problems
    if problems:
        raise TopologyError(problems)
    if not plans:
        raise UsageError(f"no cell speaks {values.get(PROTOCOL)!r}{nearest(values.get(PROTOCOL), PROTOCOLS)}")
    return plans


def plans_speaking(file: Path, values: dict[str, Any]) -> list[Plan]:
    """Return the plans of a file; where the protocol is no variable or axis of its, those of the chosen protocol."""
    if PROTOCOL not in values or declares(file, PROTOCOL):
        return plans_of(file, values)
    plans = plans_of(file, {name: value for name, value in values.items() if name != PROTOCOL})
    return [plan for plan in plans if values[PROTOCOL] in {worker.protocol for worker in plan.workers.values()}]


def found(paths: Iterable[Path]) -> list[Path]:
    """Return the files, and those of the folders. Raises UsageError for a folder without any."""
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not inside:
            raise UsageError(f"{path}: no *{SUFFIX} in this folder")
        files += inside
    return files


def main() -> None:
    """Run the command and exit with the documented status."""
    interrupts.listen()
    try:
        status = status_of_command()
    except KeyboardInterrupt:
        status = Status.INTERRUPTED.exit_code
    interrupts.stop_listening()
    sys.exit(status)


def status_of_command() -> int:
    """Run the command and return its exit status."""
    try:
        status = app(standalone_mode=False, prog_name="imclab")
    except TopologyError as error:
        typer.echo(str(error), err=True)
        return Status.REFUSED.exit_code
    except UsageError as error:
        typer.echo(f"imclab: {error}", err=True)
        return Status.REFUSED.exit_code
    except NotUnderstood as error:
        # Without arguments there is no message: typer has shown its help.
        if told := error.format_message():
            typer.echo(f"imclab: {told} Try imclab --help.", err=True)
        return Status.REFUSED.exit_code
    except MissingLayerError as error:
        typer.echo(f"imclab: {error}", err=True)
        return Status.UNSUPPORTED.exit_code
    except (KeyboardInterrupt, typer.Abort):
        status = Status.INTERRUPTED.exit_code
    except Exception:  # noqa: BLE001 - what is nobody else's mistake is ours, and shows itself
        traceback.print_exc()
        return Status.BUG.exit_code
    # Some versions of typer turn a KeyboardInterrupt into this status, others into Abort.
    if status == Status.INTERRUPTED.exit_code:
        typer.echo("imclab: interrupted; nothing is left running", err=True)
    return int(status or 0)
