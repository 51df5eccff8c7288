"""Those who connect."""

import errno
import json
import os
import signal
from pathlib import Path
from typing import Final

from sandbox.abi import NONBLOCK
from sandbox.confinement.kernel import unshare
from sandbox.confinement.namespaces import CLONE_NEWPID, CLONE_NEWUSER
from sandbox.descriptors import SocketAddress
from sandbox.errors import ImcError
from sandbox.imc import Imc
from sandbox.programs.compare.attempt import DONE, WAITS, attempt, gone, knock, name_of, with_deadline
from sandbox.protocols import PROTOCOLS, AddressForm, address_of_token, token_of_address
from sandbox.worker import Worker

GREETING: Final = b"hello"
ABROAD_SECONDS: Final = 5


def client(worker: Worker) -> None:
    """Connect to the server, greet it, and report its answer; with args.own, from a socket of its own, too."""
    address = worker.imports["server"]
    connection = attempt(worker, "connect", lambda: worker.imc.imc_connect(address))
    if connection is not None:
        worker.imc.imc_sendmsg(connection, GREETING)
        worker.report("answer", worker.imc.imc_recvmsg(connection).data.decode())
    if worker.args.get("own") and worker.imc.protocol == "datagram":
        own, _ = worker.imc.imc_makeboundsock()
        attempt(worker, "own", lambda: Imc(worker.imc.protocol, global_fd=own).imc_connect(address))


def impatient(worker: Worker) -> None:
    """Connect to a server that does not accept, and look for an answer; then once more, with all the time it takes."""
    address, hurried = worker.imports["server"], with_deadline(worker, worker.args["deadline"])
    connection = attempt(worker, "connect", lambda: hurried.imc_connect(address))
    if connection is not None:
        worker.imc.imc_sendmsg(connection, GREETING)
        attempt(worker, "answer", lambda: worker.imc.imc_recvmsg(connection, flags=NONBLOCK))
    else:
        attempt(worker, "again", lambda: worker.imc.imc_connect(address))


def learns(worker: Worker) -> None:
    """Connect, and wait for a word from the server, which is killed instead: report which call said what."""
    connection = attempt(worker, "connect", lambda: worker.imc.imc_connect(worker.imports["server"]))
    if connection is not None:
        attempt(worker, "recvmsg", lambda: worker.imc.imc_recvmsg(connection))


def remembers(worker: Worker) -> None:
    """Close the address, but remember the name where it is one; connect by that name when `go` comes."""
    address = worker.imports["server"]
    by_name = PROTOCOLS[worker.imc.protocol].address_form is AddressForm.TOKEN
    token = token_of_address(address) if by_name else None
    address.close()
    worker.report("closed", "address")
    if token is not None:
        assert worker.imports["go"].fileno() >= 0  # noqa: S101 - to ask for it is to wait for it
        attempt(worker, "connect", lambda: worker.imc.imc_connect(address_of_token(token)))


def fills(worker: Worker) -> None:
    """Connect until a connect would wait: report how many did not, for how many there was room, and why for no more.

    Begins once the exporter of the import args.after has ended, where that is said.
    """
    if "after" in worker.args:
        gone(worker, worker.args["after"])
    address = worker.imports["server"]
    connected, said = 0, worker.imc.protocol == "acknowledged"
    if said:
        # Each connect waits for its own accept, whatever room there is.
        attempt(worker, "connect", lambda: with_deadline(worker, 0).imc_connect(address))
    requests = int(said)
    while True:
        try:
            knock(worker, address).close()
        except OSError as error:
            worker.report("then", name_of(error))
            break
        requests += 1
        connected += not said
    worker.report("requests", requests)
    worker.report("connected", connected)


def one_of_many(worker: Worker) -> int:
    """Connect once `go` comes, as many others do: report whether that has to wait, and see that the hub answers."""
    assert worker.imports["go"].fileno() >= 0  # noqa: S101 - to ask for it is to wait for it
    address = worker.imports["hub"]
    hurried = with_deadline(worker, 0)
    try:
        # Over acknowledged, the deadline passes at once; over the others, there is room or there is none.
        connection = hurried.imc_connect(address) if hurried.protocol == "acknowledged" else knock(worker, address)
        worker.report("waits", "no")
    except OSError as error:
        if name_of(error) not in WAITS:
            worker.report("refused", name_of(error))
            return 1
        worker.report("waits", "yes")
        connection = worker.imc.imc_connect(address)
    worker.imc.imc_sendmsg(connection, worker.name.encode())
    return int(worker.imc.imc_recvmsg(connection).data != b"served " + worker.name.encode())


def abroad(worker: Worker) -> None:
    """Have a child in a PID and a user namespace of its own connect and greet, and report what came of it."""
    reader, writer = os.pipe()
    before = namespaces()
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWPID)
    except OSError as error:
        worker.report("unshare", name_of(error))
        return
    child = os.fork()
    if not child:
        signal.alarm(ABROAD_SECONDS)
        os.write(writer, json.dumps(greeted(worker.imc, worker.imports["server"], before)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        for key, value in json.loads(told.read() or b"{}").items():
            worker.report(key, value)
    os.waitpid(child, 0)


def greeted(imc: Imc, address: SocketAddress, before: dict[str, str]) -> dict[str, object]:
    """Connect, greet, and return what came of it, with who does so: its process id, and which namespaces are new."""
    new = sorted(kind for kind, identity in namespaces().items() if identity != before[kind])
    found: dict[str, object] = {"pid": os.getpid(), "namespaces": new}
    try:
        with imc.imc_connect(address) as connection:
            imc.imc_sendmsg(connection, GREETING)
            return found | {"connect": DONE, "answer": imc.imc_recvmsg(connection).data.decode()}
    except ImcError as error:
        return found | {"connect": errno.errorcode[error.errno or errno.EIO]}


def namespaces() -> dict[str, str]:
    """Return what the kernel calls our namespaces of processes and of users."""
    return {kind: str(Path("/proc/thread-self/ns", kind).readlink()) for kind in ("pid", "user")}
