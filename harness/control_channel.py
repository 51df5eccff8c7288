"""The supervisor's end of a worker's control channel (descriptor 5).

What comes out of it is a stranger's: each message is checked before anything is done with it, and their number and size
are bounded. The first one that breaks the rules is an offence, after which nothing more is read.
"""

import _socket
import asyncio
import errno
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from harness.waiting import writable
from sandbox import control
from sandbox.abi import NONBLOCK
from sandbox.descriptors import ConnectedSocket, Descriptor, SocketAddress
from sandbox.errors import EndOfStream, ImcError, MalformedMessage
from sandbox.imc import Imc
from sandbox.transport import discard, has_ended, receive_packet

# How much of one worker is read before the others get their turn.
MESSAGES_A_TURN: Final = 32
REPORTS_MAX: Final = 10_000
REPORT_BYTES_MAX: Final = 1024 * 1024
# The offender chooses the words of some of them.
OFFENCE_TEXT_MAX: Final = 200


class Listener(Protocol):
    """Who hears what the worker says."""

    def exported(self, identity: str) -> None:
        """Hear that the worker sent a SocketAddress of this identity and no data."""

    def announced(self) -> None:
        """Hear that its program is about to run."""

    def reported(self, key: str, value: object) -> None:
        """Hear a fact."""

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

    def __init__(self, imc: Imc, sock: ConnectedSocket, listener: Listener) -> None:
        self._imc = imc
        self._sock = sock
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._reports = 0
        self._report_bytes = 0
        self._reading = True
        self._loop.add_reader(sock.fileno(), self.read, MESSAGES_A_TURN)

    async def ask(self, step: Mapping[str, Any]) -> None:
        """Send a step. Raises EndOfStream where the worker is gone."""
        message = control.encode(control.STEP, step)
        while True:
            try:
                self._imc.imc_sendmsg(self._sock, message, flags=NONBLOCK)
            except ImcError as error:
                if error.errno != errno.EAGAIN:
                    raise
                await writable(self._sock.fileno())
            else:
                return

    def read(self, messages: int | None = None) -> None:
        """Take in what the worker has said, at most so many messages."""
        while self._reading and messages != 0:
            try:
                message = self._imc.imc_recvmsg(self._sock, flags=NONBLOCK)
                self._take(message.data, message.descriptors)
            except EndOfStream:
                self._stop_reading()
                return self._listener.closed()
            except MalformedMessage as error:
                self._stop_reading()
                return self._listener.offended(error.strerror or "")
            except Offence as error:
                self._stop_reading()
                return self._listener.offended(str(error)[:OFFENCE_TEXT_MAX])
            except ImcError as error:
                if error.errno == errno.EAGAIN:
                    return None
                if error.errno != errno.ECONNRESET:
                    self._stop_reading()
                    return self._listener.offended(error.strerror or "")
            messages = None if messages is None else messages - 1
        return None

    def end(self) -> None:
        """Say no more: the worker's next receive is the end of the stream. What it says is still read."""
        with suppress(OSError):
            self._sock.socket.shutdown(_socket.SHUT_WR)

    def close(self) -> None:
        """Close our end, and discard what is still queued there."""
        self._stop_reading()
        if self._sock.fileno() < 0:
            return
        # Left in the queue, its descriptors would be closed by the kernel in our name, which may take its time.
        with suppress(OSError):
            self._sock.socket.shutdown(_socket.SHUT_RDWR)
        with suppress(OSError):
            packet = None
            while packet is None or not has_ended(self._sock.socket, packet):
                packet = receive_packet(self._sock.socket, bytearray(1), nonblock=True)
                discard(packet.fds)
        self._sock.close()

    def _stop_reading(self) -> None:
        """Read nothing more, however much there is."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    def _take(self, data: bytes, descriptors: tuple[Descriptor, ...]) -> None:
        try:
            match data, descriptors:
                case b"", (SocketAddress() as address,):
                    self._listener.exported(address.identity())
                case _, ():
                    self._take_message(data)
                case _:
                    kinds = ", ".join(type(descriptor).__name__ for descriptor in descriptors)
                    raise Offence(f"descriptors that nobody asked for: {kinds}")
        finally:
            for descriptor in descriptors:
                descriptor.close()

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
            case control.RESULT, dict(result):
                self._listener.answered(result)
            case kind, _:
                raise Offence(f"no message of a worker: {kind!r}")

    def _count_report(self, size: int) -> None:
        self._reports += 1
        self._report_bytes += size
        if self._reports > REPORTS_MAX or self._report_bytes > REPORT_BYTES_MAX:
            raise Offence(f"more than {REPORTS_MAX} reports or {REPORT_BYTES_MAX} bytes of them")
