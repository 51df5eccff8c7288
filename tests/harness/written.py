"""Topologies and worker programs that a test writes for itself."""

from pathlib import Path
from textwrap import dedent


def write(folder: Path, topology: str, **programs: str) -> Path:
    """Write a topology and, beside it, the modules that its workers run; return the topology's path."""
    for name, source in programs.items():
        (folder / f"{name}.py").write_text(dedent(source), encoding="utf-8")
    file = folder / "written.imclab.yaml"
    file.write_text("schema: 1\nname: written\n" + dedent(topology), encoding="utf-8")
    return file


ONE_WORKER = """
    workers:
      guest: {program: "guest:main", protocol: socketpair}
"""
