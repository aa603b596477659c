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


@dataclass
class Running:
    """job: as it was when claimed. deadline: loop time. told: the task that stores the newest news of it, if any came;
    whatever comes later waits for it.
    """

    job: Job
    attempt: JobAttempt
    worker: Worker
    deadline: float
    meter: StageMeter
    told: asyncio.Task[None] | None = None
