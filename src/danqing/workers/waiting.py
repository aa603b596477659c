"""Waiting in the event loop: events that follow a condition, waits with a limit."""

import asyncio
import threading
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


def set_to(event: asyncio.Event | threading.Event, value: bool) -> None:
    """Sets or clears the event."""
    if value:
        event.set()
    else:
        event.clear()


async def unless(given_up: Awaitable[None], work: Awaitable[T]) -> T | None:
    """What work gives, or None once it is given up. It is awaited in this task: cancelled by either, it knows that what
    it was about to give reaches nobody.
    """

    async def give_up(limit: asyncio.Timeout) -> None:
        await given_up
        limit.reschedule(asyncio.get_running_loop().time())

    limit = asyncio.timeout(None)
    try:
        async with limit:
            giving_up = asyncio.create_task(give_up(limit))
            try:
                return await work
            finally:
                giving_up.cancel()
    except TimeoutError:
        if not limit.expired():
            raise
        return None


async def within(seconds: float, waiting: Awaitable[object]) -> bool:
    """Waits for at most so long; True if it came about."""
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return False
    return True
