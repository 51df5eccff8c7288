"""How a table is shown: as text, Markdown, JSON and HTML, and one row with all that is known of it."""

import html.parser
import json
from typing import Final

import pytest

from harness.compare.page import as_html
from harness.compare.properties import PROPERTIES, Property
from harness.compare.seen import Answer
from harness.compare.table import Cell, Row, Table
from harness.compare.text import NARROWEST, as_json, as_markdown, as_text, explained, shown_cells, spoken
from harness.outcome import Status
from sandbox.protocols import PROTOCOLS

PENDING: Final = next(one for one in PROPERTIES if one.name == "pending")
HOSTILE: Final = "<script>alert('&')</script>"


def table(one: Property = PENDING, status: Status = Status.PASSED) -> Table:
    evidence = {
        "connect": "done",
        "connect_seconds": 0.0123,
        "calls": ["a", "b"],
        "seen": [{"pid": 1}],
        "alone_seconds": 2.0,
    }
    answer = Answer(f"11 {HOSTILE}", {**evidence, HOSTILE: HOSTILE}, {"net.unix.max_dgram_qlen": 10}, 11)
    cell = Cell(answer, status, f"pending[stream]\n  client  said {HOSTILE}", "imclab run x")
    return Table("Linux 6.18", {"backlog": 5}, [Row(one, dict.fromkeys(PROTOCOLS, cell))])


def test_the_text_fits_the_terminal_and_says_where_it_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "130")
    lines = as_text(table()).splitlines()
    assert lines[0].split() == ["property", *PROTOCOLS]
    assert max(map(len, lines)) <= 130
    assert "net.unix.max_dgram_qlen" in as_text(table()).replace("\n", "")
    assert lines[-2:] == ["Linux 6.18; backlog = 5", "Why: imclab compare --explain PROPERTY"]
    monkeypatch.setenv("COLUMNS", "20")
    assert 20 < max(map(len, as_text(table()).splitlines())) <= NARROWEST


def test_markdown_has_a_line_a_row_and_no_bar_of_a_cell_s() -> None:
    assert as_markdown([("a | b", ["1", "2", "3", "4"])]).splitlines() == [
        "|  | stream | datagram | socketpair | acknowledged |",
        "|---|---|---|---|---|",
        r"| a \| b | 1 | 2 | 3 | 4 |",
    ]
    ((title, cells),) = shown_cells(table())
    assert (title, set(cells)) == (PENDING.title, {f"11 {HOSTILE} (net.unix.max_dgram_qlen = 10)"})


def test_json_has_all_of_it() -> None:
    told = json.loads(as_json(table()))
    assert (told["kernel"], told["settings"]) == ("Linux 6.18", {"backlog": 5})
    (row,) = told["properties"]
    assert (row["name"], row["title"], row["claim"]) == (PENDING.name, PENDING.title, PENDING.claim)
    assert row["topology"].endswith("configs/compare/pending.imclab.yaml")
    assert list(row["cells"]) == list(PROTOCOLS)
    cell = row["cells"]["stream"]
    assert cell["evidence"]["connect_seconds"] == 0.0123
    assert (cell["depends_on"], cell["status"], cell["run"]) == (
        {"net.unix.max_dgram_qlen": 10},
        "passed",
        "imclab run x",
    )


def test_an_explanation_has_claim_evidence_account_and_how_to_run_it_alone() -> None:
    lines = explained(table()).splitlines()
    assert lines[0] == f"pending: {PENDING.title}"
    assert lines[1] == f'the seed: "{PENDING.claim}"'
    assert lines[2].endswith("configs/compare/pending.imclab.yaml")
    begin = lines.index(f"stream: 11 {HOSTILE} (net.unix.max_dgram_qlen = 10)")
    assert lines[begin + 1 : begin + 3] == ["  connect: done, 12.3 ms", "  calls: a, b"]
    assert f"      client  said {HOSTILE}" in lines
    assert lines.count("  alone: imclab run x") == 4


def test_evidence_is_spoken() -> None:
    told = spoken(
        {"connect_seconds": 0.5, "connect": "done", "seconds_left": 3, "alone_seconds": 2.0, "seen": [{"a": 1}]}
    )
    assert told == {"connect": "done, 500 ms", "seconds_left": "3", "alone_seconds": "2e+03 ms", "seen": '[{"a": 1}]'}


class Page(html.parser.HTMLParser):
    """Keeps which elements a page has, whether all of them are closed, and its text."""

    VOID: Final = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_needs_nothing_else_and_shows_what_workers_said_as_text() -> None:
    page = Page(as_html(table()))
    assert "script" not in page.opened
    assert page.opened.count("details") == len(PROTOCOLS)
    # The answer, a name and a value of the evidence, and the account of each cell.
    assert page.text.count(HOSTILE) == 4 * len(PROTOCOLS)
    assert {name for name, _ in page.attributes} == {"lang", "charset", "id"}
    assert PENDING.claim in page.text


def test_a_page_marks_what_failed() -> None:
    assert ("class", "failed") in Page(as_html(table(status=Status.FAILED))).attributes
