"""Figures that take the longer to read the more jobs there are: read anew each time while they are few. For who shows
them; who acts by a figure reads it himself.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

FEW = 1_000  # jobs
PART_OF_TIME = 20  # of more, reading takes a 20th of the time at most,
MOST_S = 10.0  # but none is told for longer than this


class Remembered(Generic[T]):
    """One figure. For use from one event loop only."""

    def __init__(
        self,
        read: Callable[[], Awaitable[T]],
        *,
        jobs_in: Callable[[T], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """jobs_in: how many jobs were looked at for it."""
        self._read = read
        self._jobs_in = jobs_in
        self._clock = clock
        self._known: T | None = None
        self._until = 0.0

    async def get(self) -> T:
        """As of now or, of many jobs, of a moment ago. Raises what reading raises."""
        if self._known is not None and self._clock() < self._until:
            return self._known
        begun = self._clock()
        figure = await self._read()
        if self._jobs_in(figure) > FEW:
            self._known = figure
            now = self._clock()
            self._until = now + min(PART_OF_TIME * (now - begun), MOST_S)
        else:
            self._known = None
        return figure
