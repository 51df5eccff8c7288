"""What a member makes of what its worker says, where no honest program could say it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.control_channel import Offence
from harness.journal import Journal
from harness.member import Member
from harness.planner import only_plan_of
from harness.routing import Routing
from sandbox.imc import Imc

GUEST = """
schema: 1
name: t
workers:
  guest: {{program: "guest:main", protocol: socketpair, service_port: {0}}}
"""


def as_member(write: Callable[..., Path], service_port: str, check: Callable[[Member], None]) -> None:
    """Call `check` with a member whose worker was never started."""

    async def look() -> None:
        plan = only_plan_of(write(GUEST.format(service_port)), {})
        journal = Journal()
        routing = Routing(plan, journal, lambda *_: None)
        check(Member(plan.workers["guest"], journal, routing))
        routing.close()

    asyncio.run(look())


def test_an_export_of_another_address_is_an_offence(write: Callable[..., Path]) -> None:
    imc = Imc("socketpair")
    (bound, address), (other_bound, other) = imc.imc_makeboundsock(), imc.imc_makeboundsock()

    def check(guest: Member) -> None:
        guest._identity = address.identity()
        with pytest.raises(Offence):
            guest.exported("", other)
        guest.exported("", address)

    with bound, address, other_bound, other:
        as_member(write, "exported", check)


def test_an_announcement_without_the_export_that_is_due_is_an_offence(write: Callable[..., Path]) -> None:
    def offend(guest: Member) -> None:
        with pytest.raises(Offence):
            guest.announced()

    as_member(write, "exported", offend)
    as_member(write, "unexported", Member.announced)
