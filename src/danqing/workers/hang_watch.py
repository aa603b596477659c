"""Tells from what a worker process says, and when, whether it hangs. Pure: every time is given in, in seconds."""

from danqing.workers.spec import WorkerRules

STUCK = "stuck"  # the verdict that what is on the device is to blame
_WEIGHT_OF_NEWEST = 0.2  # in the moving average of step times


class HangWatch:
    """One process, from its start on. Silence while loading is normal; while a picture is finished, so is no step."""

    def __init__(self, rules: WorkerRules, now: float) -> None:
        self._rules = rules
        self._started = now
        self._heard: float | None = None  # None: still loading
        self._last_sign: float | None = None  # that the job on the device goes on; None: nothing on the device
        self._jobs = 0  # on the device
        self._steps_done = 0  # of the first of them
        self._decoding = False
        self._usual_step_s: float | None = None  # None: not known yet

    def heard(self, now: float) -> None:
        """A message came; the first one says that loading is over."""
        self._heard = now

    def device_busy(self, now: float, *, jobs: int = 1) -> None:
        """So many jobs were sent, to be made together."""
        self._jobs = jobs
        self._last_sign, self._steps_done, self._decoding = now, 0, False

    def step_done(self, now: float, *, last: bool) -> None:
        """A denoising step ended. last: the job's decoding follows."""
        # What a job's first step takes is not usual: the prompt is encoded before it, and a new size may be compiled.
        # Nor is what lies between a last step and another one: a decoding that failed, and a second try's first step.
        if self._last_sign is not None and self._steps_done and not self._decoding:
            self._measured(now - self._last_sign)
        self._last_sign, self._decoding = now, last
        self._steps_done += 1

    def _measured(self, step_s: float) -> None:
        if self._usual_step_s is None:
            self._usual_step_s = step_s
        else:
            self._usual_step_s += (step_s - self._usual_step_s) * _WEIGHT_OF_NEWEST

    def device_free(self) -> None:
        """The job is off the device."""
        self._last_sign = None

    def forgive(self, now: float) -> None:
        """Starts every time anew: nobody listened for a while, so nothing can be said about it."""
        self._started = now
        if self._heard is not None:
            self._heard = now
        if self._last_sign is not None:
            self._last_sign = now

    def verdict(self, now: float) -> str | None:
        """Why the process must be taken for hung, in one word for the log; None while it is fine."""
        rules = self._rules
        if self._heard is None:
            return "loading" if now - self._started > rules.load_timeout_s else None
        if now - self._heard > rules.heartbeat_timeout_s:
            return "silent"
        if self._last_sign is not None and now - self._last_sign > self._patience_s():
            return STUCK
        return None

    def _patience_s(self) -> float:
        rules = self._rules
        # Before a job's first step its prompt is encoded, and what its mode needs may be loaded.
        if self._usual_step_s is None or self._decoding or not self._steps_done:
            return rules.task_timeout_s * self._jobs + rules.overdue_grace_s
        return max(rules.step_timeout_s, rules.step_factor * self._usual_step_s)
