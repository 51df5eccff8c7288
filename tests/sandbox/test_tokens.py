"""Tokens and the names that they are bound under, in the two protocols that have them."""

import errno
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.descriptors import SocketAddress
from sandbox.imc import Imc
from sandbox.protocols import PROTOCOLS, AddressForm, choose_random_token, token_of_address
from sandbox.protocols.tokens import bind_to_fresh_token
from tests.kernel import OpenDescriptors
from tests.sandbox.connections import Link, connect_and_accept, make_imc
from tests.sandbox.raw import fds_of, raw
from tests.sandbox.refusals import raises
from tests.sandbox.vectors import TOKEN, unframed

BY_TOKEN = [name for name, kind in PROTOCOLS.items() if kind.address_form is AddressForm.TOKEN]
token_protocols = pytest.mark.parametrize("protocol", BY_TOKEN)

ATTEMPTS = 16


def fresh(letter: str) -> str:
    """Return a token that no other test or process chooses, and that begins with `letter`."""
    return letter + choose_random_token()[1:]


def test_random_tokens_are_27_letters_and_digits_and_differ() -> None:
    tokens = {choose_random_token() for _ in range(200)}
    assert len(tokens) == 200
    assert all(re.fullmatch("[a-zA-Z0-9]{27}", token) for token in tokens)
    assert len(set("".join(tokens))) == 62


@token_protocols
def test_the_address_is_the_token_that_was_chosen(protocol: str) -> None:
    token = fresh("a")
    bound, address = Imc(protocol, choose_token=lambda: token).imc_makeboundsock()
    with bound, address:
        assert token_of_address(address) == token.encode()
        assert os.pread(address.fileno(), 100, 0) == token.encode() + b"\0"


@token_protocols
def test_the_name_fills_all_110_bytes_of_the_sockaddr(protocol: str) -> None:
    token = fresh("a").encode()
    bound, address = Imc(protocol, choose_token=lambda: token).imc_makeboundsock()
    with bound, address, raw(bound) as sock:
        native = bytes.fromhex(unframed("2010", "bound_sockaddr_un")["data_hex"])
        assert len(native) == 110
        assert sock.getsockname() == native[2:].replace(TOKEN, token)
        # The kernel shows each NUL of the name as "@".
        shown = ("\0google-nacl-" + token.decode()).ljust(108, "\0").replace("\0", "@")
        assert shown in Path("/proc/net/unix").read_text(encoding="ascii").split()


@token_protocols
def test_the_type_of_the_bound_socket(protocol: str) -> None:
    bound, address = Imc(protocol).imc_makeboundsock()
    with bound, address, raw(bound) as sock:
        assert sock.type == {"stream": socket.SOCK_SEQPACKET, "datagram": socket.SOCK_DGRAM}[protocol]
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == (protocol == "stream")


@token_protocols
@pytest.mark.parametrize("form", [str, str.encode], ids=["str", "bytes"])
def test_a_token_that_is_taken_is_chosen_again(protocol: str, form: Callable[[str], str | bytes]) -> None:
    taken, free = fresh("t"), fresh("f")
    choices = iter([taken] + [taken] * (ATTEMPTS - 1) + [free])
    imc = make_imc(protocol, choose_token=lambda: form(next(choices)))
    first_bound, first = imc.imc_makeboundsock()
    second_bound, second = imc.imc_makeboundsock()
    with first_bound, first, second_bound, second:
        assert token_of_address(second) == free.encode()
        for bound, address in ((first_bound, first), (second_bound, second)):
            link = connect_and_accept(imc, bound, address)
            link.client.close()
            link.server.close()


@token_protocols
def test_when_every_choice_is_taken_it_is_eaddrinuse_after_a_bounded_number(
    protocol: str, open_descriptors: OpenDescriptors
) -> None:
    choices: list[str] = []
    taken = fresh("t")

    def choose() -> str:
        choices.append(taken)
        return taken

    imc = Imc(protocol, choose_token=choose)
    bound, address = imc.imc_makeboundsock()
    with bound, address:
        choices.clear()
        with raises(errno.EADDRINUSE):
            imc.imc_makeboundsock()
        assert len(choices) == ATTEMPTS
        assert open_descriptors.only(bound, address)


def test_another_error_than_a_taken_token_is_not_tried_again() -> None:
    choices: list[str] = []

    def choose() -> str:
        choices.append(choose_random_token())
        return choices[-1]

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound_already:
        bound_already.bind("")
        with pytest.raises(OSError, match="Invalid argument"):
            bind_to_fresh_token(bound_already, choose)
    assert len(choices) == 1


@token_protocols
@pytest.mark.parametrize(
    "choice",
    ["", "a" * 26, "a" * 28, "a" * 26 + "-", "a" * 26 + "\0", "a" * 26 + "ä", "a" * 26 + "\ud800", b"", b"a" * 28],
)
def test_a_choice_that_is_no_token_is_a_value_error(
    protocol: str, choice: str | bytes, open_descriptors: OpenDescriptors
) -> None:
    with pytest.raises(ValueError, match=r"letters and digits|surrogates"):
        Imc(protocol, choose_token=lambda: choice).imc_makeboundsock()
    assert open_descriptors.only()


@token_protocols
def test_a_token_is_free_again_once_its_bound_socket_is_closed(protocol: str) -> None:
    token = fresh("a")
    imc = make_imc(protocol, choose_token=lambda: token)
    for _ in range(2):
        bound, address = imc.imc_makeboundsock()
        with bound, address:
            link = connect_and_accept(imc, bound, address)
            link.client.close()
            link.server.close()


@token_protocols
def test_whoever_knows_the_token_can_connect_and_the_address_keeps_nothing_alive(protocol: str) -> None:
    imc = make_imc(protocol)
    bound, address = imc.imc_makeboundsock()
    with bound:
        with address:
            token = address.identity().removeprefix("token:").encode()
        with SocketAddress(os.memfd_create("a copy")) as copy:
            os.write(copy.fileno(), token + b"\0")
            link: Link = connect_and_accept(imc, bound, copy)
            link.client.close()
            link.server.close()


@token_protocols
@pytest.mark.parametrize("kind", ["seqpacket pair", "file", "memfd", "pipe", "directory"])
def test_connecting_to_an_address_that_holds_no_token_is_eio(protocol: str, kind: str) -> None:
    with fds_of(kind) as [fd], SocketAddress(os.dup(fd)) as address, raises(errno.EIO):
        make_imc(protocol).imc_connect(address)


@token_protocols
def test_connecting_to_a_token_that_nobody_has_bound_is_eio(protocol: str) -> None:
    with SocketAddress(os.memfd_create("nobody")) as address:
        os.write(address.fileno(), choose_random_token().encode() + b"\0")
        with raises(errno.EIO):
            make_imc(protocol).imc_connect(address)
