"""The events of a run, in the order in which they were learned."""

import time
from typing import Any

from harness.events import Event


class Journal:
    """Takes down what happens; `events` is what did."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._began = time.monotonic()

    def add(self, kind: type[Event], **facts: Any) -> None:
        """Write down that this happened now."""
        self.events.append(kind(at=time.monotonic() - self._began, **facts))
