"""Which system calls a worker was refused, told by the kernel: seccomp's user notification (seccomp_unotify(2)).

A strict worker's program leaves what is not on its list to us: the kernel has the caller wait, tells us the number of
the call, and fails it with the errno that we answer. The list decides, and no argument is looked at: what we answer is
what would have been without us, but that a signal may come first (EINTR). What the caller does meanwhile, even if it
ends, is no more to us than an errno.
"""

import asyncio
import errno
import fcntl
import select
import struct
from collections.abc import Callable
from contextlib import suppress
from os import close
from typing import Final

from harness.quotas import REFUSED_NUMBERS_MAX
from harness.seccomp_compiler import name_of

# linux/seccomp.h: struct seccomp_notif (id, pid, flags, and struct seccomp_data, which begins with the call's number),
# struct seccomp_notif_resp (id, val, error, flags), and the two ioctls.
NOTIFICATION_BYTES: Final = 80
NOTIFICATION: Final = struct.Struct("=QIIi")
ANSWER: Final = struct.Struct("=QqiI")
SECCOMP_IOCTL_NOTIF_RECV: Final = 0xC050_2100
SECCOMP_IOCTL_NOTIF_SEND: Final = 0xC018_2101


class RefusedCalls:
    """Answers for one worker and all that it forks, on the event loop; owns `listener`.

    `refused(call)` hears of each. One is answered a turn, so that whoever makes many waits, and nobody else does.
    """

    def __init__(self, listener: int, refused: Callable[[str], None]) -> None:
        self._listener = listener
        self._refused = refused
        self._numbers: set[int] = set()
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener, self._take)

    def _take(self) -> None:
        """Answer one call that waits, if it still does; or see that nobody is left to make one."""
        event = next((event for _, event in self._poll.poll(0)), 0)
        # To receive waits where there is nothing, on some kernels even if told not to.
        if not event & select.POLLIN:
            if event & select.POLLHUP:
                self.close()
            return
        # Whoever made it has ended meanwhile, or does something else first: a signal came.
        with suppress(FileNotFoundError, InterruptedError):
            received = fcntl.ioctl(self._listener, SECCOMP_IOCTL_NOTIF_RECV, bytes(NOTIFICATION_BYTES))
            cookie, _, _, number = NOTIFICATION.unpack_from(received)
            fcntl.ioctl(self._listener, SECCOMP_IOCTL_NOTIF_SEND, ANSWER.pack(cookie, 0, -errno.EPERM, 0))
            self._refused(self._called(number))

    def _called(self, number: int) -> str:
        name = name_of(number) if number >= 0 else None
        if name is not None:
            return name
        if len(self._numbers) < REFUSED_NUMBERS_MAX:
            self._numbers.add(number)
        return f"call {number}" if number in self._numbers else "calls of other numbers"

    def close(self) -> None:
        """Answer no more: for whoever still calls, there is no such call (ENOSYS)."""
        if self._listener >= 0:
            self._loop.remove_reader(self._listener)
            close(self._listener)
            self._listener = -1
