"""Waiting for a descriptor on the event loop without changing its open file, which may be shared."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def readable(fd: int, seconds: float | None = None) -> None:
    """Wait until `fd` can be read without waiting. Raises TimeoutError."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, settle, ready, None)
    try:
        async with asyncio.timeout(seconds):
            await ready
    finally:
        loop.remove_reader(fd)


async def writable(fd: int) -> None:
    """Wait until `fd` can be written without waiting."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(fd, settle, ready, None)
    try:
        await ready
    finally:
        loop.remove_writer(fd)


async def aside(function: Callable[..., T], *arguments: object) -> T:
    """Return what this call returns. It is made in a thread, which is left behind when nobody waits for it any more."""
    loop = asyncio.get_running_loop()
    returned: asyncio.Future[T] = loop.create_future()

    def call() -> None:
        try:
            tell = partial(settle, returned, function(*arguments))
        except Exception as error:  # noqa: BLE001 - it is raised where the call was asked for
            tell = partial(fail, returned, error)
        # The loop may be closed by the time that we are let go.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(tell)

    # No thread to be had is one that does not come back.
    with suppress(RuntimeError):
        threading.Thread(target=call, daemon=True).start()
    return await returned


def settle(future: asyncio.Future[T], result: T) -> None:
    """Give `future` its result, unless whoever waited for it gave up."""
    if not future.done():
        future.set_result(result)


def fail(future: asyncio.Future[T], error: BaseException) -> None:
    """Have `future` raise `error` for whoever waits for it, if anybody does."""
    if not future.done():
        future.set_exception(error)
        future.exception()
