"""What is done by one of all processes at a time, by a name."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

Exclusive = Callable[[str], AbstractAsyncContextManager[bool]]
"""Inside, True for one of those who ask by that name, and False for the others."""


@asynccontextmanager
async def alone(name: str) -> AsyncGenerator[bool]:
    """There is no other process."""
    yield True
