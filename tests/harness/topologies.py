"""Small topologies to be right or wrong with, and what is said of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from harness.errors import Problem, TopologyError
from harness.plan import Plan
from harness.planner import plans_of

PROTOCOLS: Final = ("stream", "datagram", "socketpair", "acknowledged")

# Lines 1 and 2, which every topology begins with, and 3 to 5: two workers, of which a exports its address.
HEAD: Final = "schema: 1\nname: t\n"
PAIR: Final = f"""{HEAD}workers:
  a: {{program: "m:f", protocol: stream, service_port: exported}}
  b: {{program: "m:f", protocol: stream}}
"""

# Two probes that can be told to do anything; b may connect to a. The protocol is an axis.
PROBES: Final = f"""{HEAD}matrix: {{protocol: [stream, datagram, socketpair, acknowledged]}}
defaults: {{protocol: "{{{{protocol}}}}", program: "sandbox.programs.probe:main"}}
workers:
  a: {{service_port: exported}}
  b: {{service_port: unexported}}
routes: [{{grant: a, to: b}}]
"""


def written(folder: Path, text: str, name: str = "t.imclab.yaml") -> Path:
    """Return a file in `folder` with this text."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def plans_or_problems(file: Path, chosen: Mapping[str, Any] | None = None) -> tuple[list[Plan], Sequence[Problem]]:
    """Return the plans of `file`, or all that is wrong with it."""
    try:
        return plans_of(file, chosen), ()
    except TopologyError as error:
        return [], error.problems


def mistakes_in(file: Path, chosen: Mapping[str, Any] | None = None) -> list[str]:
    """Return what is wrong with `file`, each mistake as "line:column: text"."""
    _, problems = plans_or_problems(file, chosen)
    assert {problem.file for problem in problems} <= {str(file)}
    return [f"{problem.line}:{problem.column}: {problem.text}" for problem in problems]


def only(plans: list[Plan]) -> Plan:
    """Return the one plan that is there."""
    (plan,) = plans
    return plan
