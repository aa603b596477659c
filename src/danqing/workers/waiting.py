"""Waiting in the event loop: events that follow a condition, waits with a limit."""

import asyncio
import threading
from collections.abc import Awaitable


def set_to(event: asyncio.Event | threading.Event, value: bool) -> None:
    """Sets or clears the event."""
    if value:
        event.set()
    else:
        event.clear()


async def within(seconds: float, waiting: Awaitable[object]) -> bool:
    """Waits for at most so long; True if it came about."""
    try:
        await asyncio.wait_for(waiting, seconds)
    except TimeoutError:
        return False
    return True
