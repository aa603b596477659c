"""What the dispatcher keeps of an attempt that a worker has in its hands."""

import asyncio
from dataclasses import dataclass

from danqing.core.types import Job, Progress, Stage
from danqing.workers.hands import JobAttempt
from danqing.workers.worker import Worker


class StageMeter:
    """How far an attempt is in its present stage. Pure: every time is given in, in seconds."""

    def __init__(self, now: float) -> None:
        self.stage = Stage.DENOISING
        self.furthest = 0
        self._began = now

    def begin(self, stage: Stage, now: float) -> None:
        """The next stage has begun."""
        self.stage, self.furthest, self._began = stage, 0, now

    def advance(self, step: int, total_steps: int, now: float) -> Progress | None:
        """None if it has been as far before: a second try does not count backwards."""
        if step <= self.furthest:
            return None
        self.furthest = step
        return Progress(stage=self.stage, step=step, total_steps=total_steps, elapsed_s=now - self._began)


class Deadline:
    """When an attempt is overdue. Pure: every time is given in, in seconds."""

    def __init__(self, at: float) -> None:
        self._at = at
        self._paused_at: float | None = None

    def pause(self, now: float) -> None:
        """From here on nothing is done about the attempt, and time does not count."""
        self._paused_at = now

    def resume(self, now: float) -> None:
        """Time counts again."""
        if self._paused_at is not None:
            self._at += now - self._paused_at
            self._paused_at = None

    def forgive(self, seconds: float) -> None:
        """Does not count so much of the time that has passed; a pause did not count it anyway."""
        if self._paused_at is None:
            self._at += seconds

    def is_over(self, now: float) -> bool:
        """Never during a pause."""
        return self._paused_at is None and now > self._at


@dataclass
class Running:
    """job: as it was when claimed. told: the task that stores the newest news of it, if any came; whatever comes later
    waits for it.
    """

    job: Job
    attempt: JobAttempt
    worker: Worker
    deadline: Deadline
    meter: StageMeter
    told: asyncio.Task[None] | None = None

    def begin(self, now: float) -> None:
        """The device turned to it, after it was sent while the device had others."""
        self.deadline.resume(now)
        self.meter.begin(self.meter.stage, now)
