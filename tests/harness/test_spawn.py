"""The supervisor's end of the zygote, where it is not seen through a whole run."""

import asyncio
import os

import pytest

from harness.spawn import Zygote, pid_of


@pytest.mark.parametrize("milliseconds", range(0, 60, 4))
def test_a_start_that_is_given_up_at_any_moment_leaves_no_child(milliseconds: int) -> None:
    async def start_and_give_up() -> None:
        zygote = await asyncio.wait_for(Zygote.start(), milliseconds / 1000)
        await zygote.stop()

    try:
        asyncio.run(start_and_give_up())
    except TimeoutError:
        """It was given up before it was born."""
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_pid_of_a_pidfd_is_the_host_s() -> None:
    pidfd = os.pidfd_open(os.getpid())
    assert pid_of(pidfd) == os.getpid()
    os.close(pidfd)
