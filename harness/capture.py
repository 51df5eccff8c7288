"""What a worker writes to stdout or stderr: the first 64 KiB of each are kept, the rest is counted."""

import asyncio
import os
from typing import Final

from harness.outcome import Output

KEPT_BYTES: Final = 64 * 1024


class Capture:
    """Reads one pipe on the event loop. `writer` is for the worker; close it here once the worker has it."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        # The two ends are two open files: the worker's stays as it is.
        os.set_blocking(self._reader, False)
        self._kept = bytearray()
        self._size = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._read)

    def close_writer(self) -> None:
        """Close our copy of the worker's end, once."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def finish(self) -> Output:
        """Read what is still there and close the pipe."""
        self.close_writer()
        while self._reader >= 0 and self._read():
            """Until the end, or, where an orphan holds the other end, until there is nothing."""
        self._close()
        return Output(bytes(self._kept), self._size)

    def _read(self) -> bool:
        """Read once, and say whether there may be more now."""
        try:
            data = os.read(self._reader, KEPT_BYTES)
        except BlockingIOError:
            return False
        self._size += len(data)
        self._kept += data[: KEPT_BYTES - len(self._kept)]
        if not data:
            self._close()
        return bool(data)

    def _close(self) -> None:
        if self._reader >= 0:
            self._loop.remove_reader(self._reader)
            os.close(self._reader)
            self._reader = -1
