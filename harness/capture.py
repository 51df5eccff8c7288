"""What a worker writes to stdout or stderr: of each the first 64 KiB and the last 4 KiB are kept."""

import asyncio
import os
from collections.abc import Callable
from typing import Final

from harness.outcome import Output
from harness.quotas import OUTPUT_BYTES_A_TURN, OUTPUT_PAUSE_SECONDS

KEPT_BYTES: Final = 64 * 1024
TAIL_BYTES: Final = 4 * 1024
# A pipe holds at most 1 MiB (fs.pipe-max-size, unless root raised it).
READS_AT_THE_END: Final = 32
# What is diverted comes after what a pipe holds by default; who writes more than that besides has other worries.
DIVERTED_BYTES: Final = 4 * KEPT_BYTES


class Capture:
    """Reads one pipe on the event loop; `wrote(size)` hears of all that comes, whatever becomes of it.

    Whoever writes more than is kept is read with pauses, and waits: only its size is of interest.
    """

    def __init__(self, wrote: Callable[[int], None]) -> None:
        self._wrote = wrote
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._reader = -1
        self._writer = -1
        self._kept = bytearray()
        self._tail = bytearray()
        self._size = 0
        self._diverted: bytearray | None = None

    def open(self) -> int:
        """Return the end to write to, borrowed; `close_writer` once the worker has it. Raises OSError."""
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC)
        # The two ends are two open files: the worker's stays as it is.
        os.set_blocking(self._reader, False)
        self._go_on()
        return self._writer

    @property
    def identity(self) -> str:
        """What /proc says that the pipe is; "" where there is none."""
        return f"pipe:[{os.fstat(self._reader).st_ino}]" if self._reader >= 0 else ""

    def close_writer(self) -> None:
        """Close our copy of the worker's end, once."""
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def finish(self) -> None:
        """Read what is still there and close the pipe. An orphan that holds the other end may go on: we do not."""
        self.close_writer()
        self.catch_up()
        self._close_reader()

    def output(self) -> Output:
        """Return what was read so far."""
        return Output(bytes(self._kept), self._size, bytes(self._tail))

    def divert(self) -> None:
        """Read what is there, and what comes from now on apart."""
        self.catch_up()
        self._diverted = bytearray()

    def diverted(self) -> bytes:
        """Return the beginning of what came since then; what comes from now on is output again."""
        self.catch_up()
        diverted, self._diverted = self._diverted or bytearray(), None
        return bytes(diverted)

    def take_back(self, data: bytes) -> None:
        """Count as output what was diverted by mistake."""
        self._add(data)

    def _add(self, data: bytes) -> None:
        if self._diverted is not None:
            room = DIVERTED_BYTES - len(self._diverted)
            self._diverted += data[:room]
            data = data[room:]
        self._size += len(data)
        room = KEPT_BYTES - len(self._kept)
        self._kept += data[:room]
        self._tail = (self._tail + data[room:])[-TAIL_BYTES:]

    def catch_up(self) -> None:
        """Read what is there now."""
        for _ in range(READS_AT_THE_END):
            if self._reader < 0 or not self._read():
                break

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._reader, self._take_turn)

    def _take_turn(self) -> None:
        """Read once, and if nothing more is kept not again at once."""
        if self._read() and self._size > KEPT_BYTES and self._reader >= 0:
            self._loop.remove_reader(self._reader)
            self._pause = self._loop.call_later(OUTPUT_PAUSE_SECONDS, self._go_on)

    def _read(self) -> bool:
        """Read once, and say whether there may be more now."""
        try:
            data = os.read(self._reader, OUTPUT_BYTES_A_TURN)
        except BlockingIOError:
            return False
        self._add(data)
        self._wrote(len(data))
        if not data:
            self._close_reader()
        return bool(data)

    def _close_reader(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._reader >= 0:
            self._loop.remove_reader(self._reader)
            os.close(self._reader)
            self._reader = -1
