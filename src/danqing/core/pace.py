"""How quickly jobs are completed, to tell clients when it is worth asking again."""

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

_WEIGHT_OF_NEWEST = 0.2  # in the moving average
RECALLED_FOR_S = 3.0
LONGEST_S = 120  # clients take no longer wait for serious


class Forecast(Protocol):
    """For one event loop."""

    async def seconds_for(self, jobs: float) -> int | None:
        """In how many whole seconds so many jobs more are likely to be completed: 1 to LONGEST_S; None while nobody
        knows.
        """
        ...


class Pace:
    """A forecast of what was. Told of each completed job. Safe to use from one event loop only."""

    def __init__(self) -> None:
        self._s_per_job: float | None = None  # None: nothing is known yet
        self._newest: datetime | None = None  # when a job was completed last

    def completed(self, started_at: datetime, finished_at: datetime) -> None:
        """A job was. What counts is the time since the one before it, for several may be made at once, unless nothing
        was done meanwhile.
        """
        began = started_at if self._newest is None else max(started_at, self._newest)
        took_s = max(0.0, (finished_at - began).total_seconds())
        if self._s_per_job is None:
            self._s_per_job = took_s
        else:
            self._s_per_job += (took_s - self._s_per_job) * _WEIGHT_OF_NEWEST
        self._newest = finished_at if self._newest is None else max(self._newest, finished_at)

    async def seconds_for(self, jobs: float) -> int | None:
        """See `Forecast`."""
        if self._s_per_job is None:
            return None
        return min(LONGEST_S, max(1, math.ceil(self._s_per_job * jobs)))


class RecalledPace:
    """The forecast of a process that is not told itself, but may ask what was completed last, by whomever."""

    def __init__(
        self,
        recall: Callable[[], Awaitable[Sequence[tuple[datetime, datetime]]]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """recall: beginning and end of the jobs that were completed last, oldest first."""
        self._recall = recall
        self._clock = clock
        self._pace = Pace()
        self._as_of = -RECALLED_FOR_S

    async def seconds_for(self, jobs: float) -> int | None:
        """See `Forecast`. As of a few seconds ago."""
        if self._clock() - self._as_of >= RECALLED_FOR_S:
            self._as_of = self._clock()
            pace = Pace()
            for started_at, finished_at in await self._recall():
                pace.completed(started_at, finished_at)
            self._pace = pace
        return await self._pace.seconds_for(jobs)
