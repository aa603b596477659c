"""When a device will be free, going by the job on it and by those before. Pure: every time is given in, in seconds."""

_WEIGHT_OF_NEWEST = 0.3  # in the moving average of what follows a last step


class Outlook:
    """Steps of one job take about as long as each other; what follows the last one (decoding) grows with the picture as
    a step does, so it is known in steps from the jobs before.
    """

    def __init__(self) -> None:
        self._last: float | None = None  # when the job began, or its newest step ended; None: nothing on the device
        self._first_end = 0.0  # of its first step, in which its prompt is encoded: no measure for others
        self._steps = 0  # that are made
        self._left = 0  # steps that are not
        self._tail_steps: float | None = None  # None: not known yet

    def device_busy(self, now: float) -> None:
        """A job has begun."""
        self._last, self._steps = now, 0

    def step_done(self, now: float, *, left: int) -> None:
        """left: steps that are still to be made."""
        if self._last is None:
            return
        if not self._steps:
            self._first_end = now
        self._steps += 1
        self._last, self._left = now, left

    def device_free(self, now: float) -> None:
        """The job is off the device."""
        if self._last is not None and not self._left and (step_s := self._step_s()) is not None:
            tail = (now - self._last) / step_s
            before = tail if self._tail_steps is None else self._tail_steps
            self._tail_steps = before + (tail - before) * _WEIGHT_OF_NEWEST
        self._last = None

    def free_at(self) -> float | None:
        """None while that cannot be told."""
        if self._last is None or self._tail_steps is None or (step_s := self._step_s()) is None:
            return None
        return self._last + (self._left + self._tail_steps) * step_s

    def _step_s(self) -> float | None:
        """The mean of those after the first, for steps may be left out (step cache) or be told late, two at once."""
        if self._last is None or self._steps < 2 or self._last <= self._first_end:
            return None
        return (self._last - self._first_end) / (self._steps - 1)
