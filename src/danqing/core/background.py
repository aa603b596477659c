"""Work that goes on beside something else, and ends with it."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager, suppress

import structlog

log = structlog.get_logger(__name__)


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


@contextmanager
def outliving(event: str, **told: object) -> Generator[None]:
    """Around a round of what goes on for ever, and what nobody else would do: a mistake inside is logged as this event,
    and the next round may do. A task that is being stopped, and fails of that, ends.
    """
    try:
        yield
    except Exception:
        log.exception(event, **told)
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise asyncio.CancelledError from None
