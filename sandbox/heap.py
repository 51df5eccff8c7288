"""Where objects lie: a fork is spared copies of pages by what its parent does to its own heap.

Python counts the references of what it only reads, so that to call a function writes to its code, and the kernel gives
each fork that does so a page of its own. How many there are depends on what lies beside what.
"""

import gc
from collections.abc import Iterable
from types import CodeType, FunctionType
from typing import Final

# obmalloc.h: an object of up to 512 bytes lies in a pool among others of its size, which is a multiple of 16.
SIZES: Final = range(48, 513, 16)
POOL_BYTES: Final = 16384
# What bytes take beside their own.
EMPTY: Final = b"".__sizeof__()

# More holes than this are not looked for: another allocator may lay nothing in a row.
TRIED_MAX: Final = 4096

# Allocated for good.
_FILLING: Final[list[bytes]] = []


def gather(ran: Iterable[CodeType]) -> None:
    """Have this code lie together, in this order: in a few pages rather than in one for each function."""
    order = {id(code): index for index, code in enumerate(ran)}
    functions = [thing for thing in gc.get_objects() if isinstance(thing, FunctionType) and id(thing.__code__) in order]
    for function in sorted(functions, key=lambda function: order[id(function.__code__)]):
        function.__code__ = _copied(function.__code__, order.keys())


def _copied(code: CodeType, gathered: Iterable[int]) -> CodeType:
    """Return a copy of this code, with copies of those of its own functions that are to be gathered, too."""
    constants = (
        _copied(constant, gathered) if isinstance(constant, CodeType) and id(constant) in gathered else constant
        for constant in code.co_consts
    )
    return code.replace(co_consts=tuple(constants))


def fill_holes() -> None:
    """Have what is allocated next lie together, rather than where something was freed in pages that are full else.

    Of each size so many are kept that half a pool in a row is free.
    """
    for size in SIZES:
        enough, in_a_row, last = POOL_BYTES // size // 2, 0, 0
        begun = len(_FILLING)
        while in_a_row < enough and len(_FILLING) < begun + TRIED_MAX:
            filling = bytes(size - EMPTY)
            in_a_row = in_a_row + 1 if id(filling) == last + size else 0
            last = id(filling)
            _FILLING.append(filling)
        del filling
        # The last that is freed is the first to be allocated.
        while in_a_row:
            del _FILLING[-1]
            in_a_row -= 1
