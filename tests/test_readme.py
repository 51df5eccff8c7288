"""What README shows is what happens."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import pytest

from harness.cli import app
from harness.planner import only_plan_of, plans_of
from harness.report.hang import explanation
from harness.report.text import account, failure
from harness.supervisor import run_plan
from harness.topology.schema import topology_schema
from sandbox.confinement.policy import PROFILES

ROOT: Final = Path(__file__).parents[1]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK: Final = re.compile(r"```(\w+)\n(.*?)```\n", re.DOTALL)
# What is different each time, and how wide that makes a line of pytest's.
SECONDS: Final = re.compile(r"\d+\.\d\d ?s")


def section(title: str) -> str:
    """Return the part of README under this heading."""
    return README.split(f"\n## {title}")[1].split("\n## ")[0]


def blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield each block of code: its language, itself, and what is written before it."""
    end = 0
    for match in BLOCK.finditer(text):
        yield match[1], match[2], text[end : match.start()]
        end = match.end()


def commands(console: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a console, and what it printed."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed


def test_the_account_of_the_introduction_is_the_one_that_readme_shows() -> None:
    start = README.index("    introduction[socketpair]")
    shown = dedent(README[start : README.index("\n\n", start)])
    plan = only_plan_of(ROOT / "configs" / "introduction.imclab.yaml", {"protocol": "socketpair"})
    # The last line tells how long it took.
    told = account(plan, run_plan(plan)).rsplit("\n", 1)[0]
    assert shown == told


def test_each_of_the_five_steps_prints_what_readme_says(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {"PATH": path, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "-p no:cacheprovider -p no:xdist"}
    ran = 0
    for language, block, before in blocks(section("A topology of your own, in five steps")):
        if language == "console":
            for command, printed in commands(block):
                done = subprocess.run(
                    ["/bin/sh", "-c", command],
                    cwd=tmp_path,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                told = done.stdout + done.stderr
                assert SECONDS.sub("T", told) == SECONDS.sub("T", printed), command
                ran += 1
        else:
            name = re.findall(r"`([\w.]+)`[^`]*$", before)[-1]
            (tmp_path / name).write_text(block, encoding="utf-8")
    assert ran == 6
    assert section("A topology of your own, in five steps").count("\n**") == 5


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """Return the topology that says everything, as a file."""
    ((_, text, _),) = [block for block in blocks(section("The language")) if block[0] == "yaml"]
    (tmp_path / "hello.txt").write_text("hello", encoding="utf-8")
    file = tmp_path / "everything.imclab.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_topology_that_says_everything_passes(everything: Path) -> None:
    plans = plans_of(everything)
    assert len(plans) == 8
    for plan in plans:
        outcome = run_plan(plan)
        refused = plan.cell == "everything[stream-true]"
        assert outcome.passed, outcome.reason
        assert outcome.reason.startswith("refused, as expected" if refused else "all as expected")


def test_it_says_everything(everything: Path) -> None:
    said = set(re.findall(r"[a-z_]+(?=: )|[a-z_]+(?=:$)", everything.read_text(encoding="utf-8"), re.MULTILINE))
    keys = {key for definition in objects(topology_schema()) for key in definition["properties"]}
    # Those that other parts of README are about.
    others = {"command", "layout", "confinement", "grants", "pair", "max_descriptors", "export", "name"}
    others |= {"profiles", "extends", "allow", "allow_missing", "readable", "without", "refuse"}
    assert keys - said - others == set()


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every schema in `schema` that names keys."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema
        for inner in schema.values():
            yield from objects(inner)


def test_the_routes_and_the_native_workers_that_readme_writes_are_understood(tmp_path: Path) -> None:
    ((_, routes, _),) = [block for block in blocks(section("Routes")) if block[0] == "yaml"]
    ((_, workers, _),) = [block for block in blocks(section("Native workers")) if block[0] == "yaml"]
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


@pytest.mark.usefixtures("unhurried")
def test_the_hang_that_readme_makes_is_explained_as_it_says(tmp_path: Path) -> None:
    text = section("When it hangs")
    ((_, topology, _),) = blocks(text)
    file = tmp_path / "forgetful.imclab.yaml"
    file.write_text(topology, encoding="utf-8")
    hang = run_plan(only_plan_of(file, {})).hang
    assert hang is not None
    told = [line for line in explanation(hang) if not line.lstrip().startswith("File ")]
    assert dedent(text.split("```\n\n")[1].split("\n\n")[0]).splitlines() == told


def test_the_profile_that_readme_writes_is_understood(tmp_path: Path) -> None:
    ((_, text, _),) = [block for block in blocks(section("Confinement")) if block[0] == "yaml"]
    file = tmp_path / "t.imclab.yaml"
    file.write_text(f"schema: 1\nname: readme\n{text}", encoding="utf-8")
    policy = only_plan_of(file, {}).workers["store"].policy
    assert (policy.name, policy.readable, policy.denies("socket")) == ("named", ("/etc/hosts",), True)


def test_what_a_profile_kept_from_a_worker_is_told_as_readme_says(tmp_path: Path) -> None:
    text = section("Confinement")
    program = re.findall(r"`(def main[^`]*)`", text)[0]
    (tmp_path / "guest.py").write_text(f"import os\n\n{program}\n", encoding="utf-8")
    file = tmp_path / "t.imclab.yaml"
    worker = '{program: "guest:main", protocol: socketpair, confinement: strict}'
    file.write_text(f"schema: 1\nname: readme\nworkers: {{guest: {worker}}}\n", encoding="utf-8")
    plan = only_plan_of(file, {})
    told = failure(plan, run_plan(plan)).splitlines()
    shown = [line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ")]
    assert len(shown) == 3
    assert [line for line in told if line in shown] == shown


def test_what_readme_says_of_strict_is_so() -> None:
    strict = PROFILES["strict"]
    limits = {**strict.limits, **strict.late_limits}
    said = re.search(r"(\d+) GiB of address space, (\d+) s of processor time, (\d+)\nprocesses", section("Confinement"))
    assert said is not None
    assert [int(number) for number in said.groups()] == [
        limits["RLIMIT_AS"] >> 30,
        limits["RLIMIT_CPU"],
        limits["RLIMIT_NPROC"],
    ]
    assert all(strict.denies(call) for call in ("socket", "bind", "listen", "connect", "accept"))


def test_every_command_is_in_the_list_of_commands() -> None:
    names = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    listed = set(re.findall(r"^    imclab ([\w-]+)", section("Commands"), re.MULTILINE))
    assert listed == names


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
