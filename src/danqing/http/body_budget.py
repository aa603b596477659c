"""How much of all requests' bodies is in memory at once, where they are read as a whole."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import Request

from danqing.core.errors import RequestTimeout, TooBusy

MAX_HELD_BYTES = 512 * 1024 * 1024
FREE_BYTES = 64 * 1024  # of each body; the small ones get through however much room the large ones take

T = TypeVar("T")


class BodyBudget:
    """One for the whole process. For one event loop.

    max_held_bytes: of bodies that were read and are still needed, and of what was made of them. While one is parsed it
    is there up to three times; one is parsed at a time.
    """

    def __init__(self, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._max_held_bytes = max_held_bytes
        self._held_bytes = 0
        self._parsing = asyncio.Lock()

    @property
    def held_bytes(self) -> int:
        """As of now, without what is free."""
        return self._held_bytes

    @asynccontextmanager
    async def read(self, request: Request, *, timeout_s: float) -> AsyncGenerator[bytearray]:
        """The whole body, which counts until the context is left.

        Raises TooBusy as soon as there is no room for what has come, and RequestTimeout if it takes longer to come.
        """
        body, counted = bytearray(), 0
        try:
            try:
                async with asyncio.timeout(timeout_s):
                    async for piece in request.stream():
                        more = max(0, len(body) + len(piece) - FREE_BYTES) - counted
                        if self._held_bytes + more > self._max_held_bytes and more:
                            raise TooBusy
                        self._held_bytes += more
                        counted += more
                        body += piece
            except TimeoutError as exc:
                raise RequestTimeout("The request's body did not come in time.") from exc
            yield body
        finally:
            self._held_bytes -= counted

    async def parse(self, work: Callable[[], T]) -> T:
        """What work returns or raises; in a thread."""
        async with self._parsing:
            return await asyncio.to_thread(work)
