"""What README shows is what happens."""

from pathlib import Path
from textwrap import dedent

import pytest

from harness import run_topology
from harness.planner import only_plan_of
from harness.report.hang import explanation
from harness.report.text import account
from harness.supervisor import run_plan
from sandbox.protocols import PROTOCOLS

ROOT = Path(__file__).parents[1]


def test_the_account_of_the_introduction_is_the_one_that_readme_shows() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start = readme.index("    introduction[socketpair]")
    shown = dedent(readme[start : readme.index("\n\n", start)])
    plan = only_plan_of(ROOT / "configs" / "introduction.imclab.yaml", {"protocol": "socketpair"})
    # The last line tells how long it took.
    told = account(plan, run_plan(plan)).rsplit("\n", 1)[0]
    assert shown == told


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_topology_that_readme_writes_runs(protocol: str, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for language, name in (("python", "hello.py"), ("yaml", "hello.imclab.yaml")):
        block = readme.split(f"```{language}\n")[1].split("```")[0]
        (tmp_path / name).write_text(block, encoding="utf-8")
    outcome = run_topology(tmp_path / "hello.imclab.yaml", protocol=protocol)
    assert (outcome.reason, outcome.workers["client"].reports) == ("all as expected", {"answer": "HELLO"})


def test_the_routes_and_the_native_workers_that_readme_writes_are_understood(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    routes, workers = (readme.split("```yaml\n")[number].split("```")[0] for number in (2, 3))
    for name in ("store", "sel_ldr"):
        (tmp_path / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "words.txt").touch()
    head = "schema: 1\nname: readme\n"
    exports = '{program: "m:f", protocol: socketpair, service_port: exported'
    written = (
        f"workers:\n  store: {exports}}}\n  client: {exports}}}\n"
        f"  shard: {exports}, replicas: 3}}\n  front: {exports}, replicas: 3}}\n{routes}"
    )
    for text in (written, workers):
        file = tmp_path / "t.imclab.yaml"
        file.write_text(head + text, encoding="utf-8")
        assert only_plan_of(file, {}).workers


def test_the_hang_that_readme_makes_is_explained_as_it_says(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block, rest = readme.split("```yaml\n")[4].split("```")[:2]
    file = tmp_path / "forgetful.imclab.yaml"
    file.write_text(block, encoding="utf-8")
    hang = run_topology(file).hang
    assert hang is not None
    told = [line for line in explanation(hang) if not line.lstrip().startswith("File ")]
    assert told == dedent(rest.split("\n\n")[1]).splitlines()


def test_the_files_that_the_documents_link_to_exist() -> None:
    for document in ("README.md", "ARCHITECTURE.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        links = [part.split(")")[0] for part in text.split("](")[1:]]
        assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_files_that_the_reading_path_names_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    path = text[text.index("configs/introduction") : text.index("the kernel")]
    named = [word for word in path.split() if word.startswith(("harness/", "sandbox/")) and word.endswith(".py")]
    assert len(named) > 10
    assert [word for word in named if not list(ROOT.glob(word))] == []
