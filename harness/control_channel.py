"""The supervisor's end of a worker's control channel (descriptor 5).

What comes out of it is a stranger's: each message is checked before anything is done with it, and their number and size
are bounded. The first one that breaks the rules is an offence, after which nothing more is read.
"""

import _socket
import asyncio
import errno
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from harness.quotas import MESSAGES_A_TURN, REPORT_BYTES_MAX, REPORTS_MAX, RESULT_BYTES_MAX, UNREAD_SECONDS
from harness.topology.values import ERRNO_NAMES
from harness.undertaker import Undertaker
from sandbox import control
from sandbox.abi import NONBLOCK
from sandbox.descriptors import ConnectedSocket, Descriptor, SocketAddress
from sandbox.errors import EndOfStream, ImcError
from sandbox.imc import Imc

IN_FLIGHT_SECONDS: Final = 0.01
# The offender chooses the words of some of them.
OFFENCE_TEXT_MAX: Final = 200
FAILURES: Final = (*(errno.errorcode[number] for number in control.KEPT_ERRORS), control.NO_MODULE)


class Listener(Protocol):
    """Who hears what the worker says."""

    def exported(self, name: str, address: SocketAddress) -> None:
        """Hear that the worker sent a SocketAddress (borrowed), under this name or none. May raise Offence."""

    def announced(self) -> None:
        """Hear that its program is about to run."""

    def reported(self, key: str, value: object) -> None:
        """Hear a fact."""

    def refused(self, call: str, error: str) -> None:
        """Hear that its confinement refused it something: what, and with which errno."""

    def failed(self, error: str, path: str) -> None:
        """Hear by which error its program ended, and over which file or module."""

    def answered(self, result: Mapping[str, Any]) -> None:
        """Hear the answer to a step."""

    def closed(self) -> None:
        """Hear that it closed its end, or ended. Nothing follows."""

    def offended(self, text: str) -> None:
        """Hear which rule it broke. Nothing follows."""


class Offence(Exception):
    """A message that breaks the rules."""


class ControlChannel:
    """One worker's control channel; owns `sock`."""

    def __init__(
        self, protocol: str, layout: str, sock: ConnectedSocket, listener: Listener, undertaker: Undertaker
    ) -> None:
        self._imc = Imc(protocol, layout, discard=undertaker.bury)
        self._undertaker = undertaker
        self._sock = sock
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._reports = 0
        self._report_bytes = 0
        self._reading = True
        self._unsent: deque[tuple[bytes, SocketAddress | None]] = deque()
        self._patience: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._loop.add_reader(sock.fileno(), self.read, MESSAGES_A_TURN)

    def tell(self, data: bytes, address: SocketAddress | None = None) -> None:
        """Send a message, now or once the worker has read enough; takes over `address`.

        Where the worker is gone, nobody hears it.
        """
        self._unsent.append((data, address))
        if len(self._unsent) == 1:
            self._send()

    def _send(self) -> None:
        """Send what there is room for. A worker that makes no room for long is an offender."""
        while self._unsent:
            data, address = self._unsent[0]
            try:
                self._imc.imc_sendmsg(self._sock, data, () if address is None else (address,), flags=NONBLOCK)
            except EndOfStream:
                # It ended, or it will hear nothing any more, whatever it still says.
                self._forget_unsent()
                self._listener.closed()
                return
            except ImcError as error:
                if error.errno != errno.EAGAIN and in_flight(error) is None:
                    # It has its socket refuse what we send (SO_PASSRIGHTS): its doing, whoever had it sent.
                    self._refuse(f"it takes nothing over its control channel: {error.strerror}")
                    return
                self._wait_for_room(writable=error.errno == errno.EAGAIN)
                return
            self._unsent.popleft()
            self._made_room()
            if address is not None:
                self._undertaker.bury([address.take()])

    def _wait_for_room(self, *, writable: bool) -> None:
        if writable:
            if self._patience is None:
                self._patience = self._loop.call_later(UNREAD_SECONDS, self._lose_patience)
            self._loop.add_writer(self._sock.fileno(), self._send)
        else:
            # Whoever filled the quota of descriptors in flight, it need not be this worker; nothing tells when there
            # is room again.
            self._made_room()
            self._retry = self._loop.call_later(IN_FLIGHT_SECONDS, self._send)

    def _made_room(self) -> None:
        """Something was read: whoever reads on will not be called an offender."""
        self._loop.remove_writer(self._sock.fileno())
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self._refuse("it does not read its control channel")

    def _refuse(self, text: str) -> None:
        self._forget_unsent()
        self._stop_reading()
        self._listener.offended(text)

    def _forget_unsent(self) -> None:
        if self._sock.fileno() >= 0:
            self._made_room()
        if self._retry is not None:
            self._retry.cancel()
        self._undertaker.bury(address.take() for _, address in self._unsent if address is not None)
        self._unsent.clear()

    def read(self, messages: int | None = None) -> None:
        """Take in what the worker has said, at most so many messages."""
        while self._reading and messages != 0:
            try:
                message = self._imc.imc_recvmsg(self._sock, flags=NONBLOCK)
            except EndOfStream:
                self._stop_reading()
                return self._listener.closed()
            except ImcError as error:
                if error.errno == errno.EAGAIN:
                    return None
                if error.errno != errno.ECONNRESET:
                    self._stop_reading()
                    return self._listener.offended(error.strerror or "")
                messages = None if messages is None else messages - 1
                continue
            try:
                self._take(message.data, message.descriptors)
            except Offence as error:
                self._stop_reading()
                return self._listener.offended(str(error)[:OFFENCE_TEXT_MAX])
            messages = None if messages is None else messages - 1
        return None

    def end(self) -> None:
        """Say no more: the worker's next receive is the end of the stream. What it says is still read."""
        self._forget_unsent()
        with suppress(OSError):
            self._sock.socket.shutdown(_socket.SHUT_WR)

    def close(self) -> None:
        """Close our end, with what is still queued there."""
        self._forget_unsent()
        self._stop_reading()
        with suppress(OSError):
            self._sock.socket.shutdown(_socket.SHUT_RDWR)
        self._undertaker.bury([self._sock.take()])

    def _stop_reading(self) -> None:
        """Read nothing more, however much there is."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    def _take(self, data: bytes, descriptors: tuple[Descriptor, ...]) -> None:
        try:
            match data, descriptors:
                case _, (SocketAddress() as address,) if not data.startswith(b"{"):
                    self._listener.exported(data.decode("ascii", "backslashreplace"), address)
                case _, ():
                    self._take_message(data)
                case _:
                    kinds = ", ".join(type(descriptor).__name__ for descriptor in descriptors)
                    raise Offence(f"descriptors that nobody asked for: {kinds}")
        finally:
            self._undertaker.bury(descriptor.take() for descriptor in descriptors)

    def _take_message(self, data: bytes) -> None:
        try:
            message = control.decode(data)
        except ValueError as error:
            raise Offence(f"a message that is {error}") from None
        match message:
            case control.ANNOUNCE, "ready":
                self._listener.announced()
            case control.REPORT, {"key": str(key), "value": value, **rest} if not rest:
                self._count_report(len(data))
                self._listener.reported(key, value)
            case control.REFUSED, {"call": str(call), "error": str(name), **rest} if not rest and name in ERRNO_NAMES:
                self._count_report(len(data))
                self._listener.refused(call, name)
            case control.FAILED, {"error": str(name), "path": str(path), **rest} if not rest and name in FAILURES:
                self._count_report(len(data))
                self._listener.failed(name, path[: control.PATH_CHARACTERS_MAX])
            case control.RESULT, dict(result):
                if len(data) > RESULT_BYTES_MAX:
                    raise Offence(f"a result of more than {RESULT_BYTES_MAX} bytes")
                self._listener.answered(result)
            case kind, _:
                raise Offence(f"no message of a worker: {kind!r}")

    def _count_report(self, size: int) -> None:
        self._reports += 1
        self._report_bytes += size
        if self._reports > REPORTS_MAX or self._report_bytes > REPORT_BYTES_MAX:
            raise Offence(f"more than {REPORTS_MAX} reports or {REPORT_BYTES_MAX} bytes of them")


def in_flight(error: ImcError) -> OSError | None:
    """Return the kernel's error where a message was refused for the descriptors that are in flight already."""
    cause = error.__cause__
    return cause if isinstance(cause, OSError) and cause.errno == errno.ETOOMANYREFS else None
