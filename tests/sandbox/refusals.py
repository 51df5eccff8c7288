"""What a refused call must raise: the number and the very class, for EIO has three meanings."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sandbox.errors import ImcError


@contextmanager
def raises(number: int, kind: type[ImcError] = ImcError) -> Iterator[None]:
    """Expect just this error: a subclass of ImcError is not taken for an ImcError."""
    with pytest.raises(ImcError) as caught:
        yield
    assert (type(caught.value), caught.value.errno) == (kind, number), str(caught.value)
