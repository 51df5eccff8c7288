"""Token addresses: a name in the kernel's abstract namespace that is hard to guess.

The token lies in a sealed memfd, so that an address is an fd in every protocol: one descriptor table, one way to
grant. It has no link to the socket that it names; that is what is wrong with names.
"""

import _socket
import errno
import fcntl
import os
import random
from collections.abc import Callable
from typing import Final

from sandbox.abi import (
    ABSTRACT_NAME_BYTES,
    ABSTRACT_PREFIX,
    TOKEN_ALPHABET,
    TOKEN_ATTEMPTS,
    TOKEN_BYTES,
    TOKEN_LENGTH,
)
from sandbox.descriptors import SocketAddress
from sandbox.errors import ImcError
from sandbox.wire import is_token

# As `secrets` has it, which imports what nothing else here needs.
FROM_THE_KERNEL: Final = random.SystemRandom()


def choose_random_token() -> str:
    """Return 27 random letters and digits: 160 bits, so two processes do not choose the same one."""
    return "".join(chr(FROM_THE_KERNEL.choice(TOKEN_ALPHABET)) for _ in range(TOKEN_LENGTH))


def abstract_name(token: bytes) -> bytes:
    """Return the name that `token` (27 bytes) is bound under: with the family, a sockaddr_un of 110 bytes."""
    return (ABSTRACT_PREFIX + token).ljust(ABSTRACT_NAME_BYTES, b"\0")


def bind_to_fresh_token(sock: _socket.socket, choose_token: Callable[[], str | bytes]) -> bytes:
    """Bind to a token that is not taken yet, and return its 27 bytes.

    Raises OSError(EADDRINUSE) when every one of 16 choices was taken, ValueError where a choice is no token.
    """
    for attempts_left in reversed(range(TOKEN_ATTEMPTS)):
        choice = choose_token()
        token = choice.encode() if isinstance(choice, str) else bytes(choice)
        if not is_token(token + b"\0"):
            raise ValueError(f"choose_token returned {choice!r}, not {TOKEN_LENGTH} letters and digits")
        try:
            sock.bind(abstract_name(token))
        except OSError as error:
            # "An error here means two processes chose the same token, which is not supposed to happen."
            if error.errno != errno.EADDRINUSE or not attempts_left:
                raise
        else:
            return token
    raise AssertionError("the last attempt returns or raises")


def address_of_token(token: bytes) -> SocketAddress:
    """Return a SocketAddress that holds `token` (27 bytes), owned by the caller. Raises OSError(EMFILE)."""
    address = SocketAddress(os.memfd_create("imc-token", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    try:
        os.write(address.fileno(), token + b"\0")
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(address.fileno(), fcntl.F_ADD_SEALS, seals)
    except BaseException:
        address.close()
        raise
    return address


def token_of_address(address: SocketAddress) -> bytes:
    """Return the 27 bytes that `address` (borrowed) holds. Raises ImcError(EIO) where it holds no token."""
    try:
        payload = os.pread(address.fileno(), TOKEN_BYTES + 1, 0)
    except OSError as error:
        raise ImcError(errno.EIO, f"the SocketAddress holds no token: {error.strerror}") from error
    if not is_token(payload):
        raise ImcError(errno.EIO, "the SocketAddress holds no token")
    return payload[:TOKEN_LENGTH]
