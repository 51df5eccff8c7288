"""Those who were granted nothing, or do with what they hold what nobody expects."""

import os
import re
import socket
from functools import partial
from pathlib import Path
from typing import Final

from sandbox.abi import ABSTRACT_PREFIX, MEMORY_PAGE
from sandbox.descriptors import ConnectedSocket, DataOnlySocket
from sandbox.imc import Imc
from sandbox.programs.compare.attempt import DONE, attempt, gone, name_of
from sandbox.programs.hostile.means import Target, lent, stay
from sandbox.protocols import PROTOCOLS, AddressForm, address_of_token, token_of_address
from sandbox.worker import Worker

# As /proc/net/unix writes an abstract name: @ for its NUL.
NAME: Final = re.compile(rf"@{ABSTRACT_PREFIX[1:].decode()}([A-Za-z0-9]{{27}})")


def searches(worker: Worker) -> None:
    """Look for names once `go` comes, and connect to each that is found."""
    assert worker.imports["go"].fileno() >= 0  # noqa: S101 - to ask for it is to wait for it
    try:
        listed = Path("/proc/thread-self/net/unix").read_text(encoding="ascii")
    except OSError as error:
        worker.report("list", name_of(error))
        return
    worker.report("list", DONE)
    tokens = NAME.findall(listed)
    worker.report("names", len(tokens))
    # Only now, or it would be found.
    own = worker.imc.imc_makeboundsock()[0] if tokens and worker.imc.protocol == "datagram" else None
    for address in (address_of_token(token.encode()) for token in tokens):
        attempt(worker, "connect", partial(Imc(worker.imc.protocol, global_fd=own).imc_connect, address))


def chooses(worker: Worker) -> None:
    """Make a BoundSocket under a token that is drawn; export its address for `chooses_too`."""
    made = attempt(worker, "makeboundsock", worker.imc.imc_makeboundsock)
    if made is not None:
        worker.export("made", made[1])
    stay(worker)


def chooses_too(worker: Worker) -> None:
    """Make a BoundSocket, by the same token that `made` has, where it has one."""
    token = token_in(worker, "made")
    worker.report("token", "none" if token is None else "the same")
    imc = worker.imc if token is None else Imc(worker.imc.protocol, choose_token=lambda: token)
    attempt(worker, "makeboundsock", imc.imc_makeboundsock)


def takes_over(worker: Worker) -> None:
    """Once the server has ended, bind the name that was its, and accept whoever still holds its address."""
    token = token_in(worker, "server")
    gone(worker, "gone")
    if token is None:
        worker.report("bound", "no name")
        return
    imc = Imc(worker.imc.protocol, choose_token=lambda: token)
    made = attempt(worker, "bound", imc.imc_makeboundsock)
    if made is not None:
        attempt(worker, "accept", lambda: imc.imc_accept(made[0]))


def breaks(worker: Worker) -> None:
    """Write another name over the address that it was granted, and shut it down."""
    fd = worker.imports["server"].fileno()

    def shut() -> None:
        with lent(fd) as sock:
            sock.shutdown(socket.SHUT_RDWR)

    if token_in(worker, "server") is not None:
        attempt(worker, "overwrite", lambda: os.pwrite(fd, b"another", 0))
    attempt(worker, "shutdown", shut)


def lends(worker: Worker) -> None:
    """Pass one end of a pair to `forges`, then connect; hold the other end until the run ends."""
    beside, address = worker.inherited["beside"], worker.imports["server"]
    assert isinstance(beside, ConnectedSocket)  # noqa: S101 - the topology says so
    worker.report("pid", os.getpid())
    left, right = worker.imc.imc_socketpair()
    worker.imc.imc_sendmsg(beside, b"", (right,))
    attempt(worker, "connect", lambda: worker.imc.imc_connect(address))
    right.close()
    stay(worker)
    left.close()


def forges(worker: Worker) -> None:
    """Connect; where that is to send one end of a pair, with one that `lends` made."""
    beside, address = worker.inherited["beside"], worker.imports["server"]
    assert isinstance(beside, ConnectedSocket)  # noqa: S101 - the topology says so
    worker.report("pid", os.getpid())
    (pair,) = worker.imc.imc_recvmsg(beside).descriptors
    assert isinstance(pair, DataOnlySocket)  # noqa: S101 - so it is
    if worker.imc.protocol == "stream":
        attempt(worker, "connect", lambda: worker.imc.imc_connect(address))
    else:
        target = Target(worker, address)
        attempt(worker, "connect", lambda: target.send(fds=[pair.fileno()]))


def token_in(worker: Worker, name: str) -> bytes | None:
    """Return the token of an import, None where it is an address without one."""
    by_name = PROTOCOLS[worker.imc.protocol].address_form is AddressForm.TOKEN
    return token_of_address(worker.imports[name]) if by_name else None


def missends(worker: Worker) -> None:
    """Send memory where a connection is due, if anything is; then connect as one should."""
    address = worker.imports["server"]
    if worker.imc.protocol != "stream":
        with worker.imc.imc_mem_obj_create(MEMORY_PAGE) as memory:
            attempt(worker, "sent", lambda: Target(worker, address).send(fds=[memory.fileno()]))
    attempt(worker, "connect", lambda: worker.imc.imc_connect(address))
