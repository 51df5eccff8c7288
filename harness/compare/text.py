"""The table for a terminal, for README and for programs, and all there is to know of one row."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from harness.compare.table import Cell, Row, Table, topology
from sandbox.protocols import PROTOCOLS

# Narrower than this, no cell can be read.
NARROWEST: Final = 100
UNKNOWN_WIDTH: Final = (150, 50)
# What the name of a time ends with in the evidence.
SECONDS: Final = "_seconds"


def as_text(table: Table) -> str:
    """Return the table, as wide as the terminal."""
    shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, show_lines=False)
    shown.add_column("property", ratio=4, overflow="fold")
    for protocol in PROTOCOLS:
        shown.add_column(protocol, ratio=3, overflow="fold")
    for row in table.rows:
        cells = (Text(row.cells[protocol].shown) for protocol in PROTOCOLS)
        shown.add_row(Text(f"{row.property.title}\n  {row.property.name}"), *cells)
    width = max(NARROWEST, shutil.get_terminal_size(UNKNOWN_WIDTH).columns)
    written = StringIO()
    Console(file=written, width=width, color_system=None).print(shown)
    drawn = "\n".join(line.rstrip() for line in written.getvalue().splitlines()).strip("\n")
    return f"{drawn}\n\n{head(table)}\nWhy: imclab compare --explain PROPERTY"


def head(table: Table) -> str:
    """Return where the answers were found."""
    return f"{table.kernel}; {', '.join(f'{name} = {value}' for name, value in table.settings.items())}"


def as_markdown(titles_and_cells: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Return a table of Markdown: of each row what is asked, and the answers in the order of the protocols."""
    rows = [("", *PROTOCOLS), *((title, *cells) for title, cells in titles_and_cells)]
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def shown_cells(table: Table) -> Iterator[tuple[str, list[str]]]:
    """Yield of each row what is asked, and the answers in the order of the protocols."""
    for row in table.rows:
        yield row.property.title, [row.cells[protocol].shown for protocol in PROTOCOLS]


def as_json(table: Table) -> str:
    """Return all of it as JSON.

    {kernel, settings, properties: [{name, title, claim, topology, cells}]}, where cells has for each protocol
    {answer, depends_on, evidence, status, account, run}. Times in the evidence are in seconds.
    """
    properties = [
        {
            "name": row.property.name,
            "title": row.property.title,
            "claim": row.property.claim,
            "topology": str(topology(row.property)),
            "cells": {protocol: _cell(cell) for protocol, cell in row.cells.items()},
        }
        for row in table.rows
    ]
    whole = {"kernel": table.kernel, "settings": table.settings, "properties": properties}
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "answer": cell.answer.text,
        "depends_on": cell.answer.depends_on,
        "evidence": cell.answer.evidence,
        "status": str(cell.status),
        "account": cell.account.splitlines(),
        "run": cell.command,
    }


def explained(table: Table) -> str:
    """Return all there is to know of each row: answers, evidence, what happened, and how to run it alone."""
    return "\n\n".join("\n".join(_explained(row)) for row in table.rows) + f"\n\n{head(table)}"


def _explained(row: Row) -> Iterator[str]:
    yield f"{row.property.name}: {row.property.title}"
    if row.property.claim:
        yield f'the seed: "{row.property.claim}"'
    yield f"shown by {topology(row.property)}"
    for protocol, cell in row.cells.items():
        yield ""
        yield f"{protocol}: {cell.shown}"
        yield from (f"  {name}: {value}" for name, value in spoken(cell.answer.evidence).items())
        yield "  what happened:"
        yield from (f"    {line}" for line in cell.account.splitlines()[1:])
        yield f"  alone: {cell.command}"


def spoken(evidence: Mapping[str, object]) -> dict[str, str]:
    """Return evidence in words: lists with commas, times in milliseconds, that of a call beside what came of it."""
    return {
        name: f"{_spoken(value)}, {_spoken(evidence[took])}"
        if (took := f"{name}{SECONDS}") in evidence
        else _spoken(value)
        for name, value in evidence.items()
        if not (name.endswith(SECONDS) and name.removesuffix(SECONDS) in evidence)
    }


def _spoken(value: object) -> str:
    match value:
        case float():
            return f"{value * 1000:.3g} ms"
        case list() if all(isinstance(item, str) for item in value):
            return ", ".join(value)
        case dict() | list():
            return json.dumps(value)
        case _:
            return str(value)
