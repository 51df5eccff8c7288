"""How runs end, in words and in numbers."""

from itertools import combinations_with_replacement, permutations

import pytest

from harness.outcome import Outcome, Output, Status, describe_exit, worst


def test_each_status_has_its_exit_status() -> None:
    assert {str(status): status.exit_code for status in Status} == {
        "bug": 70,
        "interrupted": 130,
        "unsupported": 69,
        "refused": 64,
        "timed out": 124,
        "failed": 1,
        "passed": 0,
    }


def test_of_several_statuses_the_first_in_the_documented_order_decides() -> None:
    order = [70, 130, 69, 64, 124, 1, 0]
    by_code = {status.exit_code: status for status in Status}
    for codes in combinations_with_replacement(order, 3):
        for several in permutations(codes):
            assert worst([by_code[code] for code in several]).exit_code == min(codes, key=order.index)


def test_without_any_run_nothing_is_wrong() -> None:
    assert worst([]) is Status.PASSED


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited with 0"),
        (255, "exited with 255"),
        (-9, "was ended by SIGKILL"),
        (-63, "was ended by signal 63"),
        (None, "was lost"),
    ],
)
def test_an_exit_status_in_words(status: int | None, words: str) -> None:
    assert describe_exit(status) == words


def test_output_says_how_much_was_not_kept() -> None:
    assert Output(b"abc", 3).text() == "abc"
    assert Output(b"abc", 10).text() == "abc\n… 7 bytes more\n"
    assert Output(b"\xff", 1).text() == r"\xff"


@pytest.mark.parametrize("status", Status)
def test_a_run_passed_where_its_status_says_so(status: Status) -> None:
    assert Outcome("t", status, "", {}, ()).passed == (status is Status.PASSED)
