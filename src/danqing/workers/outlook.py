"""When a device will be free, going by the job on it and by those before. Pure: every time is given in, in seconds."""

_WEIGHT_OF_NEWEST = 0.3  # in the moving average of what follows a last step


class Outlook:
    """Steps of one job take about as long as each other; what follows the last one (decoding) grows with the picture as
    a step does, so it is known in steps from the jobs before.
    """

    def __init__(self) -> None:
        self._last: float | None = None  # when the job began, or its newest step ended; None: nothing on the device
        self._step_s: float | None = None  # of that job; the first has its prompt in it
        self._left = 0  # steps
        self._tail_steps: float | None = None  # None: not known yet

    def device_busy(self, now: float) -> None:
        """A job has begun."""
        self._last, self._step_s = now, None

    def step_done(self, now: float, *, left: int) -> None:
        """left: steps that are still to be made."""
        if self._last is not None:
            self._step_s, self._last, self._left = now - self._last, now, left

    def device_free(self, now: float) -> None:
        """The job is off the device."""
        if self._last is not None and self._step_s and not self._left:
            tail = (now - self._last) / self._step_s
            before = tail if self._tail_steps is None else self._tail_steps
            self._tail_steps = before + (tail - before) * _WEIGHT_OF_NEWEST
        self._last = None

    def free_at(self) -> float | None:
        """None while that cannot be told."""
        if self._last is None or self._step_s is None or self._tail_steps is None:
            return None
        return self._last + (self._left + self._tail_steps) * self._step_s
