"""Work in a thread that is never left to itself."""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def in_thread_to_its_end(work: Callable[[], T], *, executor: Executor | None = None) -> T:
    """Like `asyncio.to_thread`, but returns only when the thread has ended, also when the caller is cancelled.

    For work that leaves files behind: what it writes must be there, to be removed. executor: in one of its threads,
    not in those that all of the process has.
    """
    run = contextvars.copy_context().run
    task = asyncio.get_running_loop().run_in_executor(executor, run, work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((task,))
        raise
