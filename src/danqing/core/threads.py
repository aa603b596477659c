"""Work in a thread that is never left to itself."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_thread_to_its_end(work: Callable[[], T]) -> T:
    """Like `asyncio.to_thread`, but returns only when the thread has ended, also when the caller is cancelled.

    For work that leaves files behind: what it writes must be there, to be removed.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((task,))
        raise
