"""The table as one HTML file that needs nothing else: each answer opens to its evidence."""

from collections.abc import Iterator
from html import escape
from typing import Final

from harness.compare.table import Cell, Row, Table
from harness.compare.text import head, spoken
from sandbox.protocols import PROTOCOLS

STYLE: Final = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #1b1b1b; background: #fff; }
table { border-collapse: collapse; } th, td { border: 1px solid #ccc; padding: .4rem .6rem; vertical-align: top; }
th { text-align: left; } thead th { background: #f3f3f3; position: sticky; top: 0; } tbody th { font-weight: 400; }
summary { cursor: pointer; } dt { font-weight: 600; } dd { margin: 0 0 .3rem 1rem; } q { color: #555; }
pre { overflow-x: auto; max-width: 60rem; background: #f7f7f7; padding: .5rem; } small { color: #777; }
.failed { background: #fdd; }
"""


def as_html(table: Table) -> str:
    """Return the page."""
    return "\n".join(_page(table)) + "\n"


def _page(table: Table) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">'
    yield f"<title>imclab compare</title>\n<style>{STYLE}</style>"
    yield "<h1>What each protocol promises, costs and breaks</h1>"
    yield f"<p>{escape(head(table))}</p>"
    yield f"<table>\n<thead><tr><th>property</th>{''.join(f'<th>{name}</th>' for name in PROTOCOLS)}</tr></thead>"
    yield "<tbody>"
    for row in table.rows:
        yield from _row(row)
    yield "</tbody>\n</table>\n</html>"


def _row(row: Row) -> Iterator[str]:
    one = row.property
    claim = f"<br><q>{escape(one.claim)}</q>" if one.claim else ""
    yield f'<tr id="{escape(one.name)}"><th>{escape(one.title)} <small>{escape(one.name)}</small>{claim}</th>'
    for protocol in PROTOCOLS:
        yield from _cell(row.cells[protocol])
    yield "</tr>"


def _cell(cell: Cell) -> Iterator[str]:
    failed = "" if cell.status.exit_code == 0 else ' class="failed"'
    yield f"<td{failed}><details><summary>{escape(cell.shown)}</summary>"
    facts = (f"<dt>{escape(name)}</dt><dd>{escape(said)}</dd>" for name, said in spoken(cell.answer.evidence).items())
    yield f"<dl>{''.join(facts)}</dl>"
    yield f"<pre>{escape(cell.account)}</pre>\n<code>{escape(cell.command)}</code></details></td>"
