"""What a worker writes to stdout or stderr: the first 64 KiB of each are kept, the rest is counted."""

import asyncio
import os
from typing import Final

from harness.outcome import Output

KEPT_BYTES: Final = 64 * 1024
# A pipe holds at most 1 MiB (fs.pipe-max-size, unless root raised it).
READS_AT_THE_END: Final = 32


class Capture:
    """Reads one pipe on the event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = -1
        self._writer = -1
        self._kept = bytearray()
        self._size = 0

    def open(self) -> int:
        """Return the end to write to, borrowed; `close_writer` once the worker has it. Raises OSError."""
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC)
        # The two ends are two open files: the worker's stays as it is.
        os.set_blocking(self._reader, False)
        self._loop.add_reader(self._reader, self._read)
        return self._writer

    def close_writer(self) -> None:
        """Close our copy of the worker's end, once."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def finish(self) -> None:
        """Read what is still there and close the pipe. An orphan that holds the other end may go on: we do not."""
        self.close_writer()
        for _ in range(READS_AT_THE_END):
            if self._reader < 0 or not self._read():
                break
        self._close_reader()

    def output(self) -> Output:
        """Return what was read so far."""
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
            self._close_reader()
        return bool(data)

    def _close_reader(self) -> None:
        if self._reader >= 0:
            self._loop.remove_reader(self._reader)
            os.close(self._reader)
            self._reader = -1
