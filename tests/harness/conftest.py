"""What the tests of the trusted side share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.outcome import Outcome
from harness.supervisor import run_topology
from tests.harness.topologies import PROTOCOLS, written


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return `write(text, name="t.imclab.yaml")`, which returns a file of the test's own folder."""
    return lambda text, name="t.imclab.yaml": written(tmp_path, text, name)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Outcome]:
    """Return `run(text, **variables)`, which runs the one cell of a topology with this text."""
    return lambda text, **variables: run_topology(written(tmp_path, text), **variables)


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    """Return each protocol in turn."""
    return str(request.param)
