"""What the figures make of the numbers that they took: which is compared with which, and in which unit."""

import asyncio

import pytest

from harness.bench import connects, idle, messages, starts
from harness.bench.lines import Compared, Line, Told


def told(lines: list[Line]) -> dict[tuple[str, str], float | str]:
    """Return each line's ratio or text by what it is about and the peer."""
    return {
        (line.what, line.peer): line.ratio if isinstance(line, Compared) else line.text
        for line in lines
        if isinstance(line, Compared | Told)
    }


STARTS = {starts.PYTHON: [2.0], starts.FORKSERVER: [8.0], starts.SPAWN: [50.0], starts.NATIVE: [4.0]}
SEL_LDR = "2.3 to 4.4 ms where it was measured; it is not here to run"


def test_starts_are_compared_with_each_way_to_start() -> None:
    assert told(
        starts.lines_of(STARTS | {starts.BWRAP: [5.0], starts.IN_A_ROW: [4.0], starts.BWRAP_IN_A_ROW: [3.0]})
    ) == {
        (starts.PYTHON, starts.FORKSERVER): 0.25,
        (starts.PYTHON, starts.SPAWN): 0.04,
        (starts.PYTHON, starts.BWRAP): 0.4,
        (starts.PYTHON, starts.SEL_LDR): SEL_LDR,
        (starts.IN_A_ROW, starts.BWRAP): "4 ms each, beside 3 ms",
        (starts.NATIVE, starts.BWRAP): 0.8,
    }


def test_without_bubblewrap_its_lines_say_so_and_the_others_stay() -> None:
    assert told(starts.lines_of(STARTS)) == {
        (starts.PYTHON, starts.FORKSERVER): 0.25,
        (starts.PYTHON, starts.SPAWN): 0.04,
        (starts.PYTHON, starts.BWRAP): "not installed",
        (starts.PYTHON, starts.SEL_LDR): SEL_LDR,
        (starts.IN_A_ROW, starts.BWRAP): "not installed",
        (starts.NATIVE, starts.BWRAP): "not installed",
    }


def test_round_trips_are_compared_as_times_and_all_else_as_rates() -> None:
    """Twice the time is a ratio of 2 where a time is compared, and of a half where a rate is."""
    ours, theirs = [[4e-6, 4e-6, 9e-6]], [[2e-6, 1e-6, 2e-6]]
    one_way = {"ours": ours, "plain": theirs}
    lines = messages.lines_of(
        {
            "round trip": {"ours": ours, "plain": theirs, "piped": ours},
            **dict.fromkeys(("64 bytes", "4096 bytes", "65536 bytes"), one_way),
            "descriptor": {"our_address": ours, "handle": [[8e-6]], "fds": theirs},
        }
    )
    assert told(lines) == {
        ("round trip, 64 bytes", "raw sendmsg, recvmsg"): pytest.approx(2),
        ("round trip, 64 bytes", "multiprocessing.Pipe"): pytest.approx(1),
        ("one way, 64 bytes", "raw sendmsg, recvmsg"): pytest.approx(0.5),
        ("one way, 4 KiB", "raw sendmsg, recvmsg"): pytest.approx(0.5),
        ("one way, 64 KiB", "raw sendmsg, recvmsg"): pytest.approx(0.5),
        ("message with an address", "send_handle"): pytest.approx(2),
        ("message with an address", "socket.send_fds"): pytest.approx(0.5),
    }
    amounts = [(line.unit, round(line.ours[0], 6)) for line in lines if isinstance(line, Compared)]
    assert amounts == [("µs", 4)] * 2 + [("k/s", 250)] * 5


@pytest.mark.usefixtures("open_descriptors")
def test_connections_are_made_and_ended_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connects, "CONNECTIONS", 3)
    (line,) = asyncio.run(connects.measure())
    assert isinstance(line, Compared)
    assert len(line.ours) == connects.ROUNDS >= 5
    assert min(*line.ours, *line.theirs) > 0


def test_a_proportional_set_size_is_read_in_mebibytes() -> None:
    rollup = "00400000-7fff [rollup]\nRss:  9999 kB\nPss:  2560 kB\nPss_Dirty:  12 kB\n"
    assert idle.proportional_set_size(rollup) == 2.5
