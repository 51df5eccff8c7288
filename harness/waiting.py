"""Waiting for a descriptor on the event loop without changing its open file, which may be shared."""

import asyncio
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


def settle(future: asyncio.Future[T], result: T) -> None:
    """Give `future` its result, unless whoever waited for it gave up."""
    if not future.done():
        future.set_result(result)


def fail(future: asyncio.Future[T], error: BaseException) -> None:
    """Have `future` raise `error` for whoever waits for it, if anybody does."""
    if not future.done():
        future.set_exception(error)
        future.exception()
