"""What can go wrong in an IMC call.

    OSError
    └── ImcError              the call was refused or failed; `errno` says how
        ├── EndOfStream       EIO: the peer is gone, nothing more will come
        └── MalformedMessage  EIO: one bad message; the next one may be good

EIO has three causes in Native Client and a program must act on them differently: an accept loop ends at
EndOfStream, goes on after MalformedMessage, and treats any other EIO as a failure of that one call.
"""

import errno


class ImcError(OSError):
    """An imc_* call was refused or failed: `ImcError(errno, strerror)`."""


class EndOfStream(ImcError):
    """The peer is gone. Never latched: the next call asks the kernel again."""

    def __init__(self, strerror: str) -> None:
        super().__init__(errno.EIO, strerror)

    def __reduce__(self) -> tuple[type["EndOfStream"], tuple[str]]:
        return type(self), (self.strerror or "",)


class MalformedMessage(ImcError):
    """One message broke the wire format and was dropped with all its descriptors; the connection goes on.

    `sender` is the process that sent it, 0 where the kernel was not asked to tell (SO_PASSCRED).
    """

    sender = 0

    def __init__(self, strerror: str) -> None:
        super().__init__(errno.EIO, strerror)

    def __reduce__(self) -> tuple[type["MalformedMessage"], tuple[str]]:
        return type(self), (self.strerror or "",)
