"""Work that goes on beside something else, and ends with it."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def running(work: Coroutine[None, None, None], *, name: str) -> AsyncGenerator[None]:
    """Goes on as long as the context lasts, which waits for the work's end. Raises what had ended it before."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
