"""Says shortly before a device will be free that it will, so that its next job is at hand by then."""

import asyncio
from collections.abc import Callable

from danqing.workers.outlook import Outlook


class Ahead:
    """One worker's, over all its processes. Told of everything that happens on the device; for use from one event loop
    only. Times are the loop's.
    """

    def __init__(self, *, ahead_s: float, tell: Callable[[bool], None]) -> None:
        """tell: that the device is as good as free; or that it is not: after a step that took longer than those before,
        or where it should have been free for a while and is not.
        """
        self._ahead_s = ahead_s
        self._tell = tell
        self._outlook = Outlook()
        self._timer: asyncio.TimerHandle | None = None

    def device_busy(self, now: float) -> None:
        """A job has begun."""
        self._outlook.device_busy(now)

    def step_done(self, now: float, *, left: int) -> None:
        """left: steps that are still to be made."""
        self._outlook.step_done(now, left=left)
        self.cancel()
        if (free_at := self._outlook.free_at()) is None:
            return
        if free_at - self._ahead_s <= now:
            self._expect(free_at)
        else:
            self._tell(False)
            self._timer = asyncio.get_running_loop().call_at(free_at - self._ahead_s, self._expect, free_at)

    def _expect(self, free_at: float) -> None:
        self._tell(True)
        self._timer = asyncio.get_running_loop().call_at(free_at + self._ahead_s, self._tell, False)

    def device_free(self, now: float) -> None:
        """The job is off the device."""
        self._outlook.device_free(now)
        self.cancel()

    def cancel(self) -> None:
        """Tells nothing until the next step."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
