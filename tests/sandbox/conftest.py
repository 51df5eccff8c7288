"""A deadline and a count of descriptors around every test here, and connections over every protocol."""

from collections.abc import Iterator

import pytest

from sandbox.imc import Imc
from sandbox.protocols import PROTOCOLS
from tests.kernel import OpenDescriptors
from tests.sandbox.connections import Link, make_link, service_port


@pytest.fixture(autouse=True)
def _neither_hangs_nor_leaks(open_descriptors: OpenDescriptors, deadline: None) -> None:
    """Ask for both fixtures on behalf of every test."""


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def imc(protocol: str) -> Iterator[Imc]:
    with service_port() as port:
        yield Imc(protocol, global_fd=port)


@pytest.fixture
def link(imc: Imc) -> Iterator[Link]:
    made = make_link(imc)
    with made.client, made.server:
        yield made
