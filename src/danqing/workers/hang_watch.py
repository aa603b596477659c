"""Tells from what a worker process says, and when, whether it hangs. Pure: every time is given in, in seconds."""

from danqing.workers.spec import WorkerRules

_WEIGHT_OF_NEWEST = 0.2  # in the moving average of step times


class HangWatch:
    """One process, from its start on. Silence while loading is normal; while a picture is finished, so is no step."""

    def __init__(self, rules: WorkerRules, now: float) -> None:
        self._rules = rules
        self._started = now
        self._heard: float | None = None  # None: still loading
        self._last_step: float | None = None  # None: nothing on the device
        self._usual_step_s = 0.0

    def heard(self, now: float) -> None:
        """A message came; the first one says that loading is over."""
        self._heard = now

    def device_busy(self, now: float) -> None:
        """A job was sent."""
        self._last_step = now

    def step_done(self, now: float) -> None:
        """A denoising step ended."""
        if self._last_step is not None:
            took = now - self._last_step
            change = took - self._usual_step_s
            self._usual_step_s += change * (_WEIGHT_OF_NEWEST if self._usual_step_s else 1)
        self._last_step = now

    def device_free(self) -> None:
        """The job is off the device."""
        self._last_step = None

    def forgive(self, now: float) -> None:
        """Starts every time anew: nobody listened for a while, so nothing can be said about it."""
        self._started = now
        if self._heard is not None:
            self._heard = now
        if self._last_step is not None:
            self._last_step = now

    def verdict(self, now: float) -> str | None:
        """Why the process must be taken for hung, in one word for the log; None while it is fine."""
        rules = self._rules
        if self._heard is None:
            return "loading" if now - self._started > rules.load_timeout_s else None
        if now - self._heard > rules.heartbeat_timeout_s:
            return "silent"
        patience_s = max(rules.step_timeout_s, rules.step_factor * self._usual_step_s)
        if self._last_step is not None and now - self._last_step > patience_s:
            return "stuck"
        return None
