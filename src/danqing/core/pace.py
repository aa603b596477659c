"""How quickly jobs are completed, to tell clients when it is worth asking again. Pure."""

import math
from datetime import datetime

_WEIGHT_OF_NEWEST = 0.2  # in the moving average
LONGEST_S = 120  # clients take no longer wait for serious


class Pace:
    """Told of each completed job. Safe to use from one event loop only."""

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

    def seconds_for(self, jobs: float) -> int | None:
        """In how many whole seconds so many jobs more are likely to be completed: 1 to LONGEST_S; None while nobody
        knows.
        """
        if self._s_per_job is None:
            return None
        return min(LONGEST_S, max(1, math.ceil(self._s_per_job * jobs)))
