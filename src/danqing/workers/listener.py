"""Who hears from workers of what becomes of their jobs."""

from collections.abc import Sequence
from typing import Protocol

from danqing.core.types import JobFailure
from danqing.workers.hands import JobAttempt
from danqing.workers.messages import JobNews


class WorkerListener(Protocol):
    """Who hears of the jobs. Called in the event loop; must not block."""

    def job_told(self, message: JobNews) -> None:
        """A worker said something about a job."""
        ...

    def jobs_began(self, attempts: Sequence[JobAttempt]) -> None:
        """The device turned to these, which were sent while it still had others."""
        ...

    def jobs_lost(self, attempts: Sequence[JobAttempt], failure: JobFailure) -> None:
        """The process is gone, and these attempts with it; failure says whether by itself or with the server."""
        ...

    def stop_asked(self, job_id: str) -> None:
        """Whoever has this job was told to drop it before its next step."""
        ...

    def time_passed(self, now: float, stood_still_s: float) -> None:
        """Called every `check_s`. now: loop time. stood_still_s: how long the server itself did not run before that."""
        ...
