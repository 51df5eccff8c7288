"""Facets: for each grant of an address an address of its own, which leads there and nowhere else.

An address of the descriptor protocols is one end of a pair, one open file for all who hold it: any of them can shut it
down for all. So each importer gets the end of a pair of its own, and the supervisor, at the other end, passes connect
messages on:

    importer ── "c", one socket ──> facet: vetted ──> forwarder ── "c", one socket ──> the exporter's BoundSocket

A facet of the datagram protocol is a token of its own, for the same reason. Only connecting goes this way, data never.
What was passed on with something in its queue is buried (`undertaker.py`): the exporter may have seen to it that ours
is the last descriptor of it. Any other is closed at once, for while we hold it its peer sees no end.
While the exporter's queue is full no facet is read, so that importers wait as they would have; each facet holds back
at most one connection. When the last facet is gone, so is the forwarder's copy of the exporter's address, and the
exporter can see the end; when the exporter's BoundSocket is gone, so are the facets. (Where a facet is itself exported,
facets lead to it, as to any other address.)

(The stream protocol has none: its connections are made by the kernel, at the listener whose name was asked for, and an
accepted connection cannot be handed to another listener's accept. Nor does it need one there: the address is a name in
a sealed memfd, which has nothing that could be shut down.)
"""

import _socket
import asyncio
import errno
import select
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from harness.quotas import CONNECTIONS_A_TURN
from harness.undertaker import Undertaker
from sandbox.descriptors import BoundSocket, ConnectedSocket, SocketAddress, identity_of, over
from sandbox.errors import EndOfStream, ImcError, MalformedMessage
from sandbox.imc import Imc
from sandbox.protocols import PROTOCOLS, AddressForm, abstract_name, take_connection, token_of_address
from sandbox.transport import send_packet

# When too many descriptors of our user are in flight, nothing tells when that ends.
IN_FLIGHT_SECONDS: Final = 0.01


class Hangups:
    """Tells when a peer hangs up, of sockets that are not read: on the event loop, by an epoll of its own."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._tell)

    def watch(self, fd: int, hung_up: Callable[[], None]) -> None:
        """Call `hung_up` when the peer of `fd` has closed its end. Raises OSError.

        Whoever else holds the open file can have that fail (EINVAL): only so many epolls may be told of one file, and
        be watched by epolls themselves, as this one is.
        """
        self._epoll.register(fd, select.EPOLLRDHUP)
        self._watched[fd] = hung_up

    def forget(self, fd: int) -> None:
        """Watch `fd` no longer; before it is closed."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Watch nothing any more."""
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _tell(self) -> None:
        for fd, _ in self._epoll.poll(0):
            if fd in self._watched:
                self._watched[fd]()


class Facet:
    """One grant's way to an address; owns `bound`, whose SocketAddress the importer holds, as `name`."""

    def __init__(self, bound: BoundSocket, importer: str, name: str) -> None:
        self.bound = bound
        self.importer = importer
        self.name = name
        # A connection that the exporter's queue had no room for.
        self.held: ConnectedSocket | None = None

    def take(self) -> list[int]:
        """Hang up, and give away the fds that are here."""
        with suppress(OSError):
            self.bound.socket.shutdown(_socket.SHUT_RDWR)
        return [self.bound.take(), *([] if self.held is None else [self.held.take()])]


@dataclass(frozen=True, slots=True)
class Way:
    """One facet as whoever looks at the supervisor from outside needs to know it, by identities.

    `address` is what the importer holds, `bound` our end of it; `target` is ours, too, and leads to the exporter.
    `held` is the end of a connection that the exporter's queue has no room for, or "".
    """

    address: str
    bound: str
    target: str
    held: str


class Forwarder:
    """The facets of one address, and the way to it.

    `ours` are the identities of the supervisor's own sockets, both ends: none of them may travel as a connection.
    `refused(facet, sender, text)` hears of each connect message that was not passed on, and says whether it was one too
    many, for which the facet is shut; `sender` is the process that sent it, for an address may have travelled on, or 0
    where the message was refused for a lack of ours. `lost(text)` hears of an end that is none of the exporter's doing.
    `leads_to` is the identity of the address to which its facets lead now.
    """

    def __init__(
        self,
        protocol: str,
        address: SocketAddress,
        hangups: Hangups,
        undertaker: Undertaker,
        ours: set[str],
        refused: Callable[[Facet, int, str], bool],
        lost: Callable[[str], None],
    ) -> None:
        """Take over `address`. Raises OSError where the way to it cannot be watched."""
        message = PROTOCOLS[protocol].connect_message
        assert message is not None  # noqa: S101 - the plan has no facets of other protocols
        self._message = message
        self._imc = Imc(protocol)
        self._by_token = PROTOCOLS[protocol].address_form is AddressForm.TOKEN
        self._hangups = hangups
        self._undertaker = undertaker
        self._retry: asyncio.TimerHandle | None = None
        self._ours = ours
        self._refused = refused
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._facets: list[Facet] = []
        self._stalled: list[Facet] = []
        self._identities: dict[Facet, tuple[str, str]] = {}
        self._target: _socket.socket | None = self._opened(address)

    def _opened(self, address: SocketAddress) -> _socket.socket:
        """Return the socket that leads to the exporter: the address itself, or one that is connected to its token.

        Takes over `address`. Raises OSError.
        """
        self.leads_to = address.identity()
        if self._by_token:
            with address:
                target = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
                try:
                    target.connect(abstract_name(token_of_address(address)))
                except OSError:
                    # Whoever it was is gone. A socket that leads nowhere says so when it is used.
                    target.shutdown(_socket.SHUT_RDWR)
                return target
        target = over(address.take())
        try:
            self._hangups.watch(target.fileno(), self.close)
        except OSError as error:
            self._undertaker.bury([target.detach()])
            raise OSError(error.errno, f"it cannot be watched: {error.strerror}") from error
        return target

    def mint(self, importer: str, name: str) -> SocketAddress:
        """Return a new facet's address, owned by the caller; the importer has it as `name`. Raises OSError."""
        bound, address = self._imc.imc_makeboundsock()
        # Who sent what, the kernel knows; whoever holds the address could.
        bound.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        facet = Facet(bound, importer, name)
        self._identities[facet] = (identity_of(bound.fileno()), address.identity())
        self._ours.update(self._identities[facet])
        self._facets.append(facet)
        self._loop.add_reader(bound.fileno(), self._read, facet)
        return address

    def addresses(self) -> set[str]:
        """Return the identities of the facets' addresses."""
        return {address for _, address in self._identities.values()}

    def ways(self) -> Iterator[Way]:
        """Yield each facet as it is now."""
        target = "" if self._target is None else identity_of(self._target.fileno())
        for facet in self._facets:
            bound, address = self._identities[facet]
            yield Way(address, bound, target, identity_of(facet.held.fileno()) if facet.held is not None else "")

    def retarget(self, address: SocketAddress) -> None:
        """Lead to `address`, which this takes over, from now on; to no address where nobody is left to lead there.

        Raises OSError where the way to it cannot be watched; the facets are closed then.
        """
        if not self._facets:
            address.close()
            return
        self._close_target()
        try:
            self._target = self._opened(address)
        except OSError:
            self.close()
            raise
        self._resume()

    def revoke(self, importer: str) -> None:
        """Close the facets of this importer."""
        for facet in [facet for facet in self._facets if facet.importer == importer]:
            self._drop(facet)

    def close(self) -> None:
        """Close every facet, and the way to the exporter."""
        for facet in list(self._facets):
            self._drop(facet)
        self._close_target()

    def _close_target(self) -> None:
        target, self._target = self._target, None
        if target is not None:
            self._hangups.forget(target.fileno())
            self._loop.remove_writer(target.fileno())
            # No shutdown: the exporter holds it, too; what it has at 4 is the same open file.
            self._undertaker.bury([target.detach()])
        self._forget_retry()

    def _forget_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _drop(self, facet: Facet) -> None:
        """Close one facet; the last one takes the exporter's address along."""
        self._loop.remove_reader(facet.bound.fileno())
        self._ours.difference_update(self._identities.pop(facet))
        self._facets.remove(facet)
        if facet in self._stalled:
            self._stalled.remove(facet)
        self._undertaker.bury(facet.take())
        if not self._facets:
            self._close_target()

    def _read(self, facet: Facet) -> None:
        """Pass on what the facet's holders ask for."""
        for _ in range(CONNECTIONS_A_TURN):
            try:
                connection = take_connection(
                    facet.bound.socket,
                    self._message,
                    kept_out=self._ours,
                    nonblock=True,
                    discard=self._undertaker.bury,
                )
            except BlockingIOError:
                return
            except EndOfStream:
                self._drop(facet)
                return
            except MalformedMessage as error:
                if self._refused(facet, error.sender, error.strerror or ""):
                    self._drop(facet)
                    return
                continue
            except ImcError as error:
                self._refused(facet, 0, error.strerror or "")
                continue
            except ConnectionResetError:
                continue
            if not self._forward(facet, connection):
                return

    def _forward(self, facet: Facet, connection: ConnectedSocket) -> bool:
        """Pass on one connection, which this takes over, and say whether there is room for more."""
        assert self._target is not None  # noqa: S101 - there are facets, so there is a way
        try:
            send_packet(self._target, (self._message,), (connection.fileno(),), nonblock=True)
        except BlockingIOError:
            self._stall(facet, connection)
            try:
                self._loop.add_writer(self._target.fileno(), self._resume)
            except OSError as error:
                # As in Hangups.watch. Nothing would tell when there is room.
                self.close()
                self._lost(f"it cannot be watched: {error.strerror}")
            return False
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:
                self._stall(facet, connection)
                if self._retry is None:
                    self._retry = self._loop.call_later(IN_FLIGHT_SECONDS, self._resume)
                return False
            # The exporter is gone.
            self._undertaker.bury([connection.take()])
            self.close()
            return False
        # The exporter's queue may hold it by now, or a filter of its has dropped it; then ours is the last.
        if is_empty(connection):
            connection.close()
        else:
            self._undertaker.bury([connection.take()])
        return True

    def _stall(self, facet: Facet, connection: ConnectedSocket) -> None:
        """Leave the facet unread until there is room for what it holds back."""
        facet.held = connection
        self._loop.remove_reader(facet.bound.fileno())
        self._stalled.append(facet)

    def _resume(self) -> None:
        """Go on with the facets that waited, the first one first."""
        self._forget_retry()
        if self._target is not None:
            self._loop.remove_writer(self._target.fileno())
        stalled, self._stalled = self._stalled, []
        for facet in stalled:
            connection, facet.held = facet.held, None
            if facet not in self._facets:
                continue
            assert connection is not None  # noqa: S101 - that is why it waited
            self._loop.add_reader(facet.bound.fileno(), self._read, facet)
            self._forward(facet, connection)


def is_empty(connection: ConnectedSocket) -> bool:
    """Say whether nothing has been sent to this socket that was not received, nor its end."""
    try:
        # Without room for control messages: what lies there stays there.
        connection.socket.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
