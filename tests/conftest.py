"""What every test may count on: a hang is a failure, and descriptors are counted before and after."""

import gc
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final

import pytest
from hypothesis import settings

from harness import inspection
from harness.launcher import launcher_of_a_run
from tests.command import server
from tests.kernel import OpenDescriptors

DEADLINE: Final = 30.0
# To look at a run takes as long as it may, times this.
PATIENCE: Final = 5

# Tests and what they import stay for as long as the session: none of it is looked at by any collection.
gc.disable()

settings.register_profile("ci", max_examples=100, deadline=None, derandomize=False)
settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have those that wait lie among the others, as far apart as may be: whoever runs those has the cores meanwhile."""
    waiting = [item for item in items if item.get_closest_marker("waits")]
    others = [item for item in items if not item.get_closest_marker("waits")]
    each = len(others) // max(1, len(waiting))
    for index, item in enumerate(waiting):
        others.insert(index * (each + 1), item)
    items[:] = others


def pytest_collection_finish() -> None:
    """Collect what tests leave behind, and only that."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def launcher() -> None:
    """Have the launcher that all runs share, so that none of them is the one that starts it."""
    with launcher_of_a_run(workers=0):
        """It stays until the session ends."""


@pytest.fixture(autouse=True, scope="session")
def server_of_commands() -> Iterator[None]:
    """End the server of commands with the session."""
    with server():
        yield


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a run that hangs looked at without haste: how much there is in /proc is the whole machine's matter."""
    for name in ("INSPECTION_SECONDS", "CHILDREN_SECONDS", "LOOK_SECONDS", "SOCKETS_SECONDS", "EXPLAINED_SECONDS"):
        monkeypatch.setattr(inspection, name, PATIENCE * getattr(inspection, name))


@pytest.fixture
def deadline() -> Iterator[None]:
    """Fail the test where it stands once its time is up, and again should its cleanup hang as well."""

    def give_up(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"still running after {DEADLINE} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE, 5)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def open_descriptors() -> Iterator[OpenDescriptors]:
    """Tell what is open that was not before; at the end of the test that must be nothing."""
    descriptors = OpenDescriptors()
    yield descriptors
    assert descriptors.only(), f"leaked: {descriptors.new()}"
