"""Calls shortly before a device will be free, so that its next job is at hand by then."""

import asyncio
from collections.abc import Callable

from danqing.workers.outlook import Outlook


class Ahead:
    """For one process. Told of everything that happens on the device; for use from one event loop only."""

    def __init__(self, *, ahead_s: float, call: Callable[[], None]) -> None:
        """call: at most once a job, and never where nobody can tell when it will be done."""
        self._ahead_s = ahead_s
        self._call = call
        self._outlook = Outlook()
        self._timer: asyncio.TimerHandle | None = None

    def device_busy(self, now: float) -> None:
        """A job has begun. now: the loop's time, as everywhere here."""
        self._outlook.device_busy(now)

    def step_done(self, now: float, *, left: int) -> None:
        """left: steps that are still to be made."""
        self._outlook.step_done(now, left=left)
        self.cancel()
        if (free_at := self._outlook.free_at()) is not None:
            self._timer = asyncio.get_running_loop().call_at(free_at - self._ahead_s, self._call)

    def device_free(self, now: float) -> None:
        """The job is off the device."""
        self._outlook.device_free(now)
        self.cancel()

    def cancel(self) -> None:
        """Does not call, unless a step is told again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
