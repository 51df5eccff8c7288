"""The forking server's own parts. What a worker finds is tested from the supervisor's side."""

import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.start import exit_status, place_descriptors


def in_child(check: Callable[[], bool]) -> bool:
    """Say whether `check` holds in a forked child."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = 0 if check() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@given(st.permutations(range(12)), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_descriptors_find_their_places_however_sources_and_targets_overlap(order: list[int], count: int) -> None:
    def check() -> bool:
        inodes = {}
        for number in order[:count]:
            # A pipe's inode tells which one it is; its number is within the targets' own range.
            reader, writer = os.pipe()
            inodes[number] = os.fstat(reader).st_ino
            above = os.dup2(reader, 100 + number, inheritable=False)
            os.close(reader)
            os.close(writer)
            os.dup2(above, number, inheritable=False)
            os.close(above)
        placements = [(number, target) for target, number in enumerate(order[:count])]
        place_descriptors(placements)
        found = [os.fstat(target).st_ino for target in range(count)]
        inheritable = all(os.get_inheritable(target) for target in range(count))
        beyond = [number for number in range(count, 200) if is_open(number)]
        return found == [inodes[number] for number in order[:count]] and inheritable and not beyond

    assert in_child(check)


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("returned", "status"), [(None, 0), (0, 0), (3, 3), (256, 0), (300, 44), (-1, 255), (True, 1), (False, 0)]
)
def test_a_returned_number_is_the_exit_status_modulo_256(returned: object, status: int) -> None:
    assert exit_status(returned) == status


def test_anything_else_is_a_message_and_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("why") == 1
    assert capsys.readouterr().err == "why\n"
