"""The table of this kernel is the one that is expected; and what does not fit is told row by row."""

import asyncio
import functools
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from harness.compare import table as compare
from harness.compare.properties import PROPERTIES
from harness.compare.seen import Answer
from harness.compare.settings import OF_DATAGRAMS, OF_SENDERS, kernel, settings
from harness.compare.table import Cell, Row, Table
from harness.compare.text import as_markdown
from harness.errors import UsageError
from harness.outcome import Status
from sandbox.abi import BACKLOG
from sandbox.imc import Imc
from sandbox.protocols import PROTOCOLS
from tests.harness.compare.expectation import Expected, differences, expectation

README: Final = Path(__file__).parents[3] / "README.md"
JOBS: Final = 3


def measured(*names: str, protocols: Collection[str] = PROTOCOLS) -> Table:
    """Return the table, or some rows of it, whose cells of other protocols are those of the first."""
    properties = [one for one in PROPERTIES if not names or one.name in names]
    plans = [plan for plan in compare.experiments(properties) if plan.axes["protocol"] in protocols]
    runs = asyncio.run(compare.run_all(plans, JOBS))
    assert [outcome.reason for _, outcome in runs if not outcome.passed] == []
    others = [
        (replace(plan, axes={**plan.axes, "protocol": other}), outcome)
        for plan, outcome in runs
        for other in PROTOCOLS
        if other not in protocols and plan.axes["protocol"] == next(iter(protocols))
    ]
    return compare.table_of(properties, [*runs, *others], kernel(), settings())


def test_the_table_of_this_kernel_is_the_expected_one() -> None:
    assert differences(expectation(), measured()) == []


def test_so_many_connections_are_pending_as_the_kernel_has_room_for() -> None:
    row, few = measured("pending", "pending-of-few").rows
    numbers = {protocol: cell.answer.number for protocol, cell in row.cells.items()}
    assert numbers["stream"] == BACKLOG + 1
    assert numbers["datagram"] == settings()[OF_DATAGRAMS] + 1
    assert row.cells["acknowledged"].answer.evidence["connected"] == 0
    if settings()[OF_SENDERS] == 212992:
        assert numbers["socketpair"] == row.cells["acknowledged"].answer.evidence["requests"] == 278
    # The kernel compares what a user has in flight with the sender's limit; root's workers each are a user.
    if os.geteuid() == 0:
        assert few.cells["socketpair"].answer.number == few.cells["acknowledged"].answer.evidence["requests"] == 65


def test_a_change_of_the_code_changes_the_table_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.routing.Imc", functools.partial(Imc, backlog=2))
    found = differences({"pending": expectation()["pending"]}, measured("pending", protocols=["stream"]))
    told, _, command = found[0].partition(" (imclab run -v --set protocol=stream ")
    assert told == (
        "pending, stream: expected 6 to 6, as in '6, then it waits (backlog = 5)'; "
        "measured '3, then it waits (backlog = 5)'"
    )
    assert command.endswith("configs/compare/pending.imclab.yaml)")


# What differs, and what is told of it

RIGHT: Final = Answer("yes")
COUNTED: Final = Answer("11, then it waits", {}, {"net.unix.max_dgram_qlen": 10}, 11)


def table(*rows: tuple[str, Answer]) -> Table:
    """Return a table of these properties, with the same answer over each protocol."""
    by_name = {one.name: one for one in PROPERTIES}
    cells = [
        (by_name[name], dict.fromkeys(PROTOCOLS, Cell(answer, Status.PASSED, "", "imclab run")))
        for name, answer in rows
    ]
    return Table("Linux", {}, [Row(one, of_it) for one, of_it in cells])


def expected(**rows: Expected) -> dict[str, dict[str, Expected]]:
    return {name.replace("_", "-"): dict.fromkeys(PROTOCOLS, cell) for name, cell in rows.items()}


QUEUE: Final = {"net.unix.max_dgram_qlen": 512}


def test_what_is_as_expected_is_no_difference() -> None:
    right = expected(guessed=Expected("yes"), pending=Expected("513, then it waits", QUEUE, (11, 513)))
    assert differences(right, table(("guessed", RIGHT), ("pending", COUNTED))) == []


WITHIN: Final = Expected("12, then it waits", QUEUE, (10, 12))
TOLD: Final = "expected 10 to 12, as in '12, then it waits (net.unix.max_dgram_qlen = 512)'"


@pytest.mark.parametrize(
    ("wanted", "answer", "told"),
    [
        (Expected("no"), RIGHT, "expected no; measured 'yes' (imclab run)"),
        (
            WITHIN,
            replace(COUNTED, number=13),
            f"{TOLD}; measured '11, then it waits (net.unix.max_dgram_qlen = 10)' (imclab run)",
        ),
        (
            WITHIN,
            replace(COUNTED, number=None),
            f"{TOLD}; measured '11, then it waits (net.unix.max_dgram_qlen = 10)' (imclab run)",
        ),
        (WITHIN, replace(COUNTED, depends_on={}), f"{TOLD}; measured '11, then it waits' (imclab run)"),
        (
            WITHIN,
            replace(COUNTED, text="11, then EIO"),
            f"{TOLD}; measured '11, then EIO (net.unix.max_dgram_qlen = 10)' (imclab run)",
        ),
        (
            Expected("yes", {"Landlock ABI": 7}),
            Answer("no", {}, {"Landlock ABI": 8}),
            "expected yes (Landlock ABI = 7); measured 'no (Landlock ABI = 8)' (imclab run)",
        ),
    ],
)
def test_a_cell_that_differs_is_told_with_what_was_expected_and_how_to_run_it(
    wanted: Expected, answer: Answer, told: str
) -> None:
    found = differences(expected(pending=wanted), table(("pending", answer)))
    assert found == [f"pending, {protocol}: {told}" for protocol in PROTOCOLS]


def test_a_row_that_is_missing_and_one_that_is_new_are_told() -> None:
    found = differences(expected(guessed=Expected("yes")), table(("pending", COUNTED)))
    assert found == ["guessed: expected, and not measured", "pending: measured, and not expected"]


# README


def test_readme_has_the_expected_table() -> None:
    cells = expectation()
    rows = [(one.title, [cells[one.name][protocol].shown for protocol in PROTOCOLS]) for one in PROPERTIES]
    assert as_markdown(rows) in README.read_text(encoding="utf-8"), "imclab compare --markdown"


# The properties


def test_every_experiment_is_of_use_and_each_property_has_a_name_of_its_own() -> None:
    files = {file.name.removesuffix(".imclab.yaml") for file in compare.EXPERIMENTS.iterdir()}
    assert files == {one.experiment for one in PROPERTIES}
    assert len({one.name for one in PROPERTIES}) == len({one.title for one in PROPERTIES}) == len(PROPERTIES)


def test_what_the_seed_says_is_shown_of_four_claims_at_least() -> None:
    claimed = {one.name for one in PROPERTIES if one.claim}
    assert claimed >= {"before-accept", "pending", "same-token", "sane-descriptor"}


def test_an_unknown_property_is_told_with_those_that_there_are() -> None:
    with pytest.raises(UsageError) as told:
        compare.chosen("pendin")
    names = ", ".join(one.name for one in PROPERTIES)
    assert str(told.value) == f"no property 'pendin'; did you mean 'pending'?; the properties are {names}"
