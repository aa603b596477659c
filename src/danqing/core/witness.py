"""Who is told what happens to jobs in this process, so that it can be counted, traced or logged. Pure.

Unlike an `EventBus`, which tells clients what concerns their job, a witness hears of all jobs, and of what clients are
not told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from danqing.core.types import Job, JobFailure

JoinReason = Literal["equal", "repeated"]  # an equal job of the owner is there; or the Idempotency-Key came before


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """How long the stages of an attempt took, without the waits between them. upscale_s: 0 if nothing was enlarged."""

    denoise_s: float
    finish_s: float
    upscale_s: float = 0.0


class JobWitness(Protocol):
    """Called in the event loop, right after it happened. Must not block, and must not raise."""

    def accepted(self, job: Job) -> None:
        """A new job is stored; called while its request is being answered."""
        ...

    def joined(self, job: Job, reason: JoinReason) -> None:
        """A submit was answered with a job that was there already."""
        ...

    def refused(self, code: str, jobs: int) -> None:
        """A submit of so many jobs was refused. code: of the error."""
        ...

    def began(self, jobs: Sequence[Job], worker: str) -> None:
        """A worker makes these together, from now on; each has a new attempt."""
        ...

    def step_done(self, job: Job) -> None:
        """A denoising step of the running attempt ended."""
        ...

    def generated(self, job: Job) -> None:
        """The original is stored, and more is being made."""
        ...

    def attempt_failed(self, job: Job, failure: JobFailure, *, again: bool) -> None:
        """The newest attempt ended badly. again: the job waits for another one. job: as it is afterwards."""
        ...

    def dropped(self, job_id: str) -> None:
        """A running attempt at this job ended without changing it: it was cancelled, or is somebody else's by now."""
        ...

    def ended(self, job: Job, stages: StageTimes | None = None) -> None:
        """The job is completed, has failed or was cancelled. stages: of the attempt that completed it."""
        ...


class Witnesses:
    """Several as one; none of them is fine."""

    def __init__(self, *witnesses: JobWitness) -> None:
        self._witnesses = witnesses

    def accepted(self, job: Job) -> None:
        """See `JobWitness`; so for all below."""
        for witness in self._witnesses:
            witness.accepted(job)

    def joined(self, job: Job, reason: JoinReason) -> None:
        for witness in self._witnesses:
            witness.joined(job, reason)

    def refused(self, code: str, jobs: int) -> None:
        for witness in self._witnesses:
            witness.refused(code, jobs)

    def began(self, jobs: Sequence[Job], worker: str) -> None:
        for witness in self._witnesses:
            witness.began(jobs, worker)

    def step_done(self, job: Job) -> None:
        for witness in self._witnesses:
            witness.step_done(job)

    def generated(self, job: Job) -> None:
        for witness in self._witnesses:
            witness.generated(job)

    def attempt_failed(self, job: Job, failure: JobFailure, *, again: bool) -> None:
        for witness in self._witnesses:
            witness.attempt_failed(job, failure, again=again)

    def dropped(self, job_id: str) -> None:
        for witness in self._witnesses:
            witness.dropped(job_id)

    def ended(self, job: Job, stages: StageTimes | None = None) -> None:
        for witness in self._witnesses:
            witness.ended(job, stages)
