"""How the programs talk: a JSON object with one member in each message, the kind of message and its body.

What is too long for a message lies in SharedMemory, whose size is a multiple of 65536: the body tells how much of it
counts. Whoever receives believes nothing. Memory that could shrink under its reader is refused, for touching it would
then be a SIGBUS; and what is in it is copied before it is looked at, for its sender can still write to it.
"""

import errno
import fcntl
from collections.abc import Iterable
from typing import Any, NamedTuple

from sandbox import control
from sandbox.abi import MEMORY_PAGE
from sandbox.descriptors import ConnectedSocket, DataOnlySocket, Descriptor, SharedMemory
from sandbox.errors import ImcError, MalformedMessage
from sandbox.imc import Buffer, Imc, Message


class Heard(NamedTuple):
    """A message; the descriptors are the caller's."""

    kind: str
    body: Any
    descriptors: tuple[Descriptor, ...]


def say(imc: Imc, connection: ConnectedSocket, kind: str, body: object, *descriptors: Descriptor) -> None:
    """Send one message; `descriptors` are borrowed. Raises as imc_sendmsg does."""
    imc.imc_sendmsg(connection, control.encode(kind, body), descriptors)


def hear(imc: Imc, connection: ConnectedSocket, flags: int = 0) -> Heard:
    """Receive one message. Raises MalformedMessage for what is none, its descriptors closed; else as `receive` does."""
    message = receive(imc, connection, flags)
    try:
        return Heard(*decoded(message.data), message.descriptors)
    except MalformedMessage:
        close_all(message.descriptors)
        raise


def decoded(data: bytes) -> tuple[str, Any]:
    """Return the kind and the body of a message. Raises MalformedMessage."""
    try:
        return control.decode(data)
    except ValueError as error:
        raise MalformedMessage(str(error)) from None


def receive(imc: Imc, connection: ConnectedSocket | DataOnlySocket, flags: int = 0) -> Message:
    """Receive as imc_recvmsg does, but for ECONNRESET: that ours was left unread is no reason to miss what was said."""
    try:
        return imc.imc_recvmsg(connection, flags=flags)
    except ImcError as error:
        if error.errno != errno.ECONNRESET:
            raise
        return imc.imc_recvmsg(connection, flags=flags)


def close_all(descriptors: Iterable[Descriptor]) -> None:
    """Close what a message brought along."""
    for descriptor in descriptors:
        descriptor.close()


def memory_of(imc: Imc, data: Buffer) -> SharedMemory:
    """Return memory that begins with `data`, owned by the caller. Raises ImcError(ENOMEM)."""
    pages = max(1, -(-len(data) // MEMORY_PAGE))
    memory = imc.imc_mem_obj_create(pages * MEMORY_PAGE)
    with memory.map() as mapped:
        mapped[: len(data)] = data
    return memory


def data_of(descriptors: tuple[Descriptor, ...], length: object, length_max: int) -> bytes:
    """Return the first `length` bytes of the one SharedMemory that a message brought; takes over `descriptors`.

    Raises MalformedMessage where there is no such memory, where it could shrink, or where the length is none.
    """
    try:
        match descriptors, length:
            case (SharedMemory() as memory,), int() if 0 <= length <= min(memory.size, length_max):
                _require_lasting(memory)
                with memory.map() as mapped:
                    return mapped[:length]
            case _:
                raise MalformedMessage(f"{length!r} bytes in {descriptors}")
    except OSError as error:
        # It may have been sealed against being mapped to be written to, or be open for reading alone.
        raise MalformedMessage(str(error)) from None
    finally:
        close_all(descriptors)


def _require_lasting(memory: SharedMemory) -> None:
    """Raise OSError unless the kernel keeps the file as long as it is: EINVAL where it is no memfd."""
    if not fcntl.fcntl(memory.fileno(), fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
        raise MalformedMessage("memory that could shrink")
