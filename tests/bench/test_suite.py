"""The suite as a figure: one that fails is no number. A Makefile stands for the real one."""

import asyncio
from pathlib import Path

import psutil
import pytest

from harness.bench import suite
from harness.bench.lines import Measured
from harness.bench.runs import NotMeasured
from tests.kernel import until


def makefile(folder: Path, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a checkout whose `make test-sandbox` does this."""
    (folder / "Makefile").write_text(f"test-sandbox:\n\t{recipe}\n", encoding="utf-8")
    monkeypatch.setattr(suite, "CHECKOUT", folder)


def test_a_suite_that_passes_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makefile(tmp_path, "touch ran", monkeypatch)
    (line,) = asyncio.run(suite.measure())
    assert (tmp_path / "ran").exists()
    assert isinstance(line, Measured)
    assert line.is_reached


def test_a_suite_that_fails_is_not_measured_and_its_last_line_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makefile(tmp_path, "@echo first; echo '=== 1 failed, 2 passed ==='; exit 1", monkeypatch)
    with pytest.raises(NotMeasured, match=r"^make test-sandbox failed: 1 failed, 2 passed$"):
        asyncio.run(suite.measure())


def test_without_a_checkout_there_is_no_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "CHECKOUT", tmp_path)
    with pytest.raises(NotMeasured, match="no checkout"):
        asyncio.run(suite.measure())


def test_a_suite_that_is_interrupted_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makefile(tmp_path, "@echo $$$$ > pid; exec sleep 1000", monkeypatch)

    told = tmp_path / "pid"

    async def interrupted() -> int:
        measuring = asyncio.create_task(suite.measure())
        await asyncio.to_thread(
            until, lambda: told.exists() and told.read_text(encoding="ascii").endswith("\n"), "it runs"
        )
        measuring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await measuring
        return int(told.read_text(encoding="ascii"))

    pid = asyncio.run(interrupted())
    until(lambda: not psutil.pid_exists(pid), "it was ended")
