"""Taking turns."""

import asyncio

from harness.bench.rounds import medians, taking_turns


def test_in_each_turn_of_each_round_ours_and_the_peers_come_one_after_the_other() -> None:
    calls: list[str] = []

    async def ours() -> float:
        calls.append("ours")
        return float(len(calls))

    def theirs() -> float:
        calls.append("theirs")
        return float(len(calls))

    taken = asyncio.run(taking_turns({"ours": ours, "theirs": theirs}, rounds=2, turns=3))
    assert calls == ["ours", "theirs"] * 6
    # Ours took 1, 3, 5 and 7, 9, 11.
    assert taken == {"ours": [3, 9], "theirs": [4, 10]}


def test_a_round_counts_by_the_median_of_its_turns() -> None:
    assert medians([[1, 2, 90], [4, 6]]) == [2, 5]
