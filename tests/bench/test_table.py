"""The table that readers see."""

from harness.bench.lines import Bound, Compared, Curve, Line, Measured, Reach, Told
from harness.bench.table import quantity, table

LINES: list[Line] = [
    Compared("f", "start", "spawn", "ms", [1, 2, 3], [4, 4, 4], Reach(Bound.AT_MOST, 0.4)),
    Compared("f", "connect", "a peer", "k/s", [1500], [1000], Reach(Bound.AT_LEAST, 2)),
    Measured("f", "memory", "MiB", [2.25], Reach(Bound.AT_MOST, 2.5)),
    Curve("f", "some workers", {1: [0.5], 10: [5, 6, 7]}),
    Told("f", "suite", "", "not measured: a reason that is longer than any column of numbers"),
]

TABLE = """\
commit abc, cores 2

figure        peer    ours      peer's    ratio  reach
start         spawn   2 ms      4 ms      0.5    ≤ 0.4      not reached
connect       a peer  1500 k/s  1000 k/s  1.5    ≥ 2        not reached
memory                2.25 MiB                   ≤ 2.5 MiB  reached
some workers          1 in 0.5 s, 10 in 6 s
suite                 not measured: a reason that is longer than any column of numbers"""


def test_each_line_is_a_row_and_what_was_not_measured_widens_no_column() -> None:
    assert table({"commit": "abc", "cores": "2"}, LINES) == TABLE


def test_a_quantity_has_three_digits_and_all_of_a_whole_number() -> None:
    assert [quantity([value], "s") for value in (0.012345, 9.876, 98765.4)] == ["0.0123 s", "9.88 s", "98765 s"]
