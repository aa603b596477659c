"""A JobStore in memory. Passes the suite of `tests/contracts/job_store.py`, but forgets everything with the process."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from danqing.core.errors import JobNotFound, QueueFull, StorageFailure
from danqing.core.states import JobState
from danqing.core.types import Artifact, Attempt, Job, JobFailure

UNFINISHED = (JobState.PENDING, JobState.PROCESSING)


class InMemoryJobStore:
    """For one event loop; no call waits, so each is atomic."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._sequence = 0

    async def add(self, job: Job, max_pending: int, *, join_equal: bool = False) -> Job:
        if join_equal and (equal := await self.find_equal(job.owner, job.fingerprint)) is not None:
            return equal
        if sum(other.state is JobState.PENDING for other in self._jobs.values()) >= max_pending:
            raise QueueFull
        if job.id in self._jobs:
            raise StorageFailure
        self._sequence += 1
        return self._put(replace(job, sequence=self._sequence, created_at=job.created_at.astimezone(UTC)))

    async def get(self, job_id: str) -> Job:
        try:
            return self._jobs[job_id]
        except KeyError:
            raise JobNotFound from None

    async def find_equal(self, owner: str, fingerprint: str) -> Job | None:
        equal = [
            job
            for job in self._jobs.values()
            if (job.owner, job.fingerprint) == (owner, fingerprint) and (job.state in UNFINISHED or job.artifacts)
        ]
        return max(equal, key=lambda job: job.sequence, default=None)

    async def claim(self, job_id: str, worker: str, now: datetime) -> Job | None:
        job = self._in_state(job_id, JobState.PENDING)
        if job is None:
            return None
        now = now.astimezone(UTC)
        attempt = Attempt(number=len(job.attempts) + 1, worker=worker, started_at=now)
        return self._put(
            replace(job, state=JobState.PROCESSING, started_at=now, attempts=(*job.attempts, attempt)),
        )

    async def complete(
        self, job_id: str, attempt: int, artifacts: Sequence[Artifact], adjustments: Sequence[str], now: datetime
    ) -> Job | None:
        job = self._running(job_id, attempt)
        if job is None:
            return None
        return self._put(
            replace(
                _closed(job, None, now),
                state=JobState.COMPLETED,
                artifacts=tuple(artifacts),
                adjustments=tuple(dict.fromkeys((*job.adjustments, *adjustments))),
                finished_at=now,
            )
        )

    async def give_back(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        job = self._running(job_id, attempt)
        if job is None:
            return None
        return self._put(replace(_closed(job, failure, now), state=JobState.PENDING, started_at=None))

    async def fail(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        job = self._running(job_id, attempt) if attempt else self._in_state(job_id, JobState.PENDING)
        if job is None:
            return None
        if attempt:
            job = _closed(job, failure, now)
        return self._put(replace(job, state=JobState.FAILED, failure=failure, finished_at=now))

    async def cancel(self, job_id: str, now: datetime) -> Job | None:
        job = self._in_state(job_id, *UNFINISHED)
        if job is None:
            return None
        if job.state is JobState.PROCESSING:
            job = _closed(job, None, now)
        return self._put(replace(job, state=JobState.CANCELLED, finished_at=now))

    async def counts(self) -> Mapping[JobState, int]:
        return {state: sum(job.state is state for job in self._jobs.values()) for state in JobState}

    async def waiting_before(self, job: Job) -> int:
        order = _order_of_taking(job)
        return sum(_order_of_taking(other) < order for other in self._jobs.values() if other.state is JobState.PENDING)

    async def unfinished(self) -> Sequence[Job]:
        return sorted((job for job in self._jobs.values() if job.state in UNFINISHED), key=_order_of_taking)

    async def without_artifacts(self) -> frozenset[str]:
        completed = (JobState.GENERATED, JobState.COMPLETED)
        return frozenset(job.id for job in self._jobs.values() if job.attempts and job.state not in completed)

    def _put(self, job: Job) -> Job:
        self._jobs[job.id] = job
        return job

    def _in_state(self, job_id: str, *states: JobState) -> Job | None:
        job = self._jobs.get(job_id)
        return job if job is not None and job.state in states else None

    def _running(self, job_id: str, attempt: int) -> Job | None:
        job = self._in_state(job_id, JobState.PROCESSING)
        return job if job is not None and len(job.attempts) == attempt else None


def _closed(job: Job, failure: JobFailure | None, now: datetime) -> Job:
    last = replace(job.attempts[-1], ended_at=now, failure=failure)
    return replace(job, attempts=(*job.attempts[:-1], last))


def _order_of_taking(job: Job) -> tuple[int, int]:
    return -job.priority, job.sequence
