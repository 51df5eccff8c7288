"""How many descriptors the runs of this process may have open together: who finds no room waits for others to end."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from harness.waiting import settle


class Room:
    """What all runs of a process share. Whoever is alone always gets in: what it needs is its own to look at."""

    def __init__(self) -> None:
        self._taken = 0
        self._besides = 0
        self._waiting: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def held(self, count: int) -> AsyncIterator[None]:
        """Have room for so many descriptors, once there is."""
        if not self._taken:
            self._besides = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - it does not block
        while self._taken and self._besides + self._taken + count > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
            freed = asyncio.get_running_loop().create_future()
            self._waiting.append(freed)
            await freed
        self._taken += count
        try:
            yield
        finally:
            self._taken -= count
            waiting, self._waiting = self._waiting, []
            for freed in waiting:
                # It may wait in another thread, or have given up, and its loop be closed.
                with suppress(RuntimeError):
                    freed.get_loop().call_soon_threadsafe(settle, freed, None)


ROOM: Final = Room()
