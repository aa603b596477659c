"""Batches: jobs that a client submitted together, shown as one entry of its history."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from string import ascii_uppercase

from danqing.core.errors import BatchFull
from danqing.core.states import JobState
from danqing.core.types import Job, Mode

MAX_BATCH_JOBS = 1_000  # shown as one, and read at once
PATIENCE = timedelta(minutes=10)  # for the next job of a batch that was announced to be larger


class BatchState(StrEnum):
    """What has become of a batch as a whole."""

    PENDING = "pending"  # none of its jobs has begun
    RUNNING = "running"
    SUCCESS = "success"  # every picture that was announced is there
    PARTIAL = "partial"  # all that came have ended, some with a picture
    ERROR = "error"  # all have ended, none with a picture
    CANCELLED = "cancelled"  # all were cancelled


def batch_full() -> BatchFull:
    """What a job gets that is one too many."""
    return BatchFull(f"A batch has at most {MAX_BATCH_JOBS:,} images; begin another one.", parameter="batch_id")


@dataclass(frozen=True, kw_only=True)
class BatchPlace:
    """Where a new job belongs. size: how many jobs the client means to submit, this one included; index from 0."""

    id: str
    index: int = 0
    size: int = 1


_SMALL = {ord(large): ord(large.lower()) for large in ascii_uppercase}


def folded(text: str) -> str:
    """With small letters for the large ones of ASCII, and all else as it is: what every database can do."""
    return text.translate(_SMALL)


@dataclass(frozen=True, kw_only=True)
class BatchFilter:
    """Which batches are looked for: those that show a job of which all of this is true.

    words: each is somewhere in its prompt, `folded`. model, mode: None for any. promising: it has not
    failed and was not cancelled.
    """

    words: tuple[str, ...] = ()
    model: str | None = None
    mode: Mode | None = None
    promising: bool = False

    @property
    def is_any(self) -> bool:
        """Whether every batch is meant."""
        return self == ANY_BATCH

    def fits(self, batch: "Batch") -> bool:
        """Whether the batch is meant."""
        return any(self._fits(job) for job in batch.jobs)

    def _fits(self, job: Job) -> bool:
        prompt = folded(job.request.prompt)
        return (
            all(folded(word) in prompt for word in self.words)
            and self.model in (None, job.request.model)
            and self.mode in (None, job.request.mode)
            and not (self.promising and job.state in (JobState.FAILED, JobState.CANCELLED))
        )


ANY_BATCH = BatchFilter()


@dataclass(frozen=True, kw_only=True)
class Batch:
    """jobs: by index, then by order of acceptance; at least one. size: as first announced, or more if more came."""

    id: str
    owner: str
    created_at: datetime
    size: int
    jobs: tuple[Job, ...]

    @property
    def counts(self) -> Counter[JobState]:
        """Jobs by state."""
        return Counter(job.state for job in self.jobs)

    def state_at(self, now: datetime) -> BatchState:
        """Judged by the jobs that have come; while more are announced, and the last came not long ago, it goes on."""
        counts, total = self.counts, len(self.jobs)
        if counts[JobState.PENDING] == total:
            return BatchState.PENDING
        awaited = total < self.size and now - max(job.created_at for job in self.jobs) < PATIENCE
        if awaited or any(not job.state.is_final for job in self.jobs):
            return BatchState.RUNNING
        if counts[JobState.COMPLETED] >= self.size:
            return BatchState.SUCCESS
        if counts[JobState.COMPLETED]:
            return BatchState.PARTIAL
        return BatchState.CANCELLED if counts[JobState.CANCELLED] == total else BatchState.ERROR
