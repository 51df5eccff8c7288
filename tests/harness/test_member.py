"""What a member makes of what its worker says, where no honest program could say it."""

import asyncio

import pytest

from harness.control_channel import Offence
from harness.member import Journal, Member
from harness.plan import WorkerPlan


def member(service_port: str) -> Member:
    plan = WorkerPlan("guest", "guest:main", "socketpair", service_port, {}, {}, (), 5.0, 2.0)
    return Member(plan, Journal())


def test_an_export_of_another_address_is_an_offence() -> None:
    async def export() -> None:
        guest = member("exported")
        guest._identity = "socket:[1]"
        with pytest.raises(Offence):
            guest.exported("socket:[2]")
        guest.exported("socket:[1]")

    asyncio.run(export())


def test_an_announcement_without_the_export_that_is_due_is_an_offence() -> None:
    async def announce() -> None:
        with pytest.raises(Offence):
            member("exported").announced()
        member("unexported").announced()

    asyncio.run(announce())
