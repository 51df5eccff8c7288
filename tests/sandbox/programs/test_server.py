"""What all servers do alike: they accept without haste, and wait for nobody who is gone."""

import errno
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.descriptors import BoundSocket, ConnectedSocket
from sandbox.errors import EndOfStream, ImcError, MalformedMessage
from sandbox.imc import Imc
from sandbox.programs.server import BACK_OFF_LONGEST, REASON_LENGTH, REASONS_MAX, arrivals, telling, wait_for
from tests.kernel import Background
from tests.sandbox.connections import Link


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def accepted(monkeypatch: pytest.MonkeyPatch, failures: list[ImcError]) -> list[ConnectedSocket]:
    """Return who arrives where accept fails like this, and then nobody holds the address any more."""
    imc = Imc("socketpair")

    def accept(_bound: BoundSocket) -> ConnectedSocket:
        raise failures.pop(0) if failures else EndOfStream("nobody holds the address")

    monkeypatch.setattr(imc, "imc_accept", accept)
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        return list(arrivals(imc, bound))


def test_where_no_descriptor_is_free_each_pause_is_longer_but_never_long(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accepted(monkeypatch, [ImcError(errno.EMFILE, "none is free") for _ in range(20)]) == []
    assert len(pauses) == 20
    assert 0 < pauses[0] < pauses[1] < pauses[-1] == BACK_OFF_LONGEST
    assert pauses == sorted(pauses)


def test_after_a_bad_message_there_is_no_pause(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    assert accepted(monkeypatch, [MalformedMessage("bad") for _ in range(20)]) == []
    assert pauses == []


def test_who_was_malformed_is_reported_but_not_without_end(link: Link) -> None:
    reports: list[tuple[str, list[str]]] = []
    worker: Any = SimpleNamespace(report=lambda key, value: reports.append((key, list(value))))

    def serve(_connection: ConnectedSocket) -> None:
        raise MalformedMessage("x" * 100_000)

    told = telling(worker, serve)
    for _ in range(REASONS_MAX + 1):
        with pytest.raises(MalformedMessage):
            told(link.server)
    reason = "x" * REASON_LENGTH
    assert reports == [("malformed", [reason] * count) for count in range(1, REASONS_MAX + 1)]


def test_who_has_hung_up_is_waited_for_no_longer(link: Link) -> None:
    changed = threading.Condition()

    def waiting() -> None:
        with changed, pytest.raises(EndOfStream):
            wait_for(changed, lambda: False, link.server)

    background = Background(waiting)
    link.client.close()
    background.result()


def test_what_has_arrived_is_told_even_to_one_who_has_hung_up(link: Link) -> None:
    changed = threading.Condition()
    link.client.close()
    with changed:
        wait_for(changed, lambda: True, link.server)
