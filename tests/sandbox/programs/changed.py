"""The configs of these programs, with something else in them."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from harness import Outcome, run_topology

CONFIGS = Path(__file__).parents[3] / "configs"
SHORT_TEXT = b"".join(b"some words in line %d\n# and a comment\n" % number for number in range(5_000))


def run_changed(
    folder: Path, config: str, program: str, source: str, changed: Mapping[str, str] | None = None
) -> Outcome:
    """Run a cell of `config` over a short text, with `source` for one program, which it has as `original`."""
    module, _, function = program.partition(":")
    text = (CONFIGS / f"{config}.imclab.yaml").read_text(encoding="utf-8")
    assert text.count(f'"sandbox.programs.{program}"') == 1
    for old, new in {f'"sandbox.programs.{program}"': '"broken:main"', **(changed or {})}.items():
        assert old in text
        text = text.replace(old, new)
    head = f"from sandbox.programs import {module}\noriginal = {module}.{function}\n"
    (folder / "broken.py").write_text(head + dedent(source), encoding="utf-8")
    (folder / "word-count.txt").write_bytes(SHORT_TEXT)
    file = folder / "broken.imclab.yaml"
    file.write_text(text, encoding="utf-8")
    return run_topology(file, protocol="socketpair")
