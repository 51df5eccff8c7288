"""Where objects lie."""

import gc
from types import CodeType
from typing import Final

from sandbox.heap import fill_holes, gather
from tests.children import in_child

# Of a size that nothing else here has.
SIZE: Final = 480
EMPTY: Final = b"".__sizeof__()


def objects(count: int) -> list[bytes]:
    return [bytes(SIZE - EMPTY) for _ in range(count)]


def in_a_row(things: list[bytes]) -> bool:
    places = list(map(id, things))
    return places == list(range(places[0], places[0] + SIZE * len(places), SIZE))


@in_child
def test_what_is_allocated_where_much_was_freed_lies_together_once_the_holes_are_filled() -> None:
    full = objects(400)
    del full[::2]
    assert not in_a_row(objects(10))
    fill_holes()
    assert in_a_row(objects(10))


def doubled(number: int) -> int:
    """Count."""

    def inner() -> int:
        return number

    return sum(inner() for _ in range(2))


def alone(number: int) -> int:
    return number


def inside(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


@in_child
def test_code_that_is_gathered_is_another_that_does_the_same() -> None:
    before, others = doubled.__code__, alone.__code__
    inner, generator = inside(before)
    # What is frozen is not found.
    gc.unfreeze()
    gather([before, inner])
    assert doubled(21) == 42
    assert doubled.__doc__ == "Count."
    assert doubled.__code__ == before
    assert doubled.__code__ is not before
    assert inside(doubled.__code__)[0] is not inner
    assert inside(doubled.__code__)[1] is generator
    assert alone.__code__ is others
