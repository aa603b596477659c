"""Jobs, batches and subscriptions in memory. They pass the suites of `tests/contracts`, but end with the process.

jobs = InMemoryJobStore()
batches, subscriptions = InMemoryBatchStore(jobs), InMemorySubscriptions(jobs)
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from danqing.core.batches import ANY_BATCH, MAX_BATCH_JOBS, Batch, BatchFilter, batch_full
from danqing.core.clock import utc_now
from danqing.core.errors import (
    BatchNotFound,
    JobNotFound,
    QueueFull,
    StorageFailure,
    SubmitKeyReused,
    TooManyJobs,
)
from danqing.core.fairness import is_suspect, order_of_taking
from danqing.core.states import JobState
from danqing.core.submitting import Join, SubmitKey
from danqing.core.types import Artifact, Attempt, Job, JobFailure
from tests.fakes.fairness import turn_among, turn_behind

RUNNING = (JobState.PROCESSING, JobState.GENERATED)
UNFINISHED = (JobState.PENDING, *RUNNING)
WITH_FINGERPRINT_AT_MOST = 20


@dataclass(frozen=True, kw_only=True)
class _BatchEntry:
    """sequence: of its first job; jobs of the same id that came before belong to a forgotten batch."""

    id: str
    owner: str
    sequence: int
    created_at: datetime
    size: int


class InMemoryJobStore:
    """For one event loop; no call waits, so each is atomic."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._batches: dict[tuple[str, str], _BatchEntry] = {}
        self._keys: dict[tuple[str, str], tuple[str, list[str], datetime]] = {}
        self._sequence = 0
        self._missing: frozenset[str] = frozenset()

    async def add(
        self,
        job: Job,
        max_pending: int,
        *,
        batch_size: int = 1,
        max_of_owner: int | None = None,
        join: Join = Join.NONE,
        key: SubmitKey | None = None,
    ) -> Job:
        added = await self.add_all(
            [job], max_pending, batch_sizes=[batch_size], max_of_owner=max_of_owner, join=join, key=key
        )
        return added[0]

    async def add_all(
        self,
        jobs: Sequence[Job],
        max_pending: int,
        *,
        batch_sizes: Sequence[int],
        max_of_owner: int | None = None,
        join: Join = Join.NONE,
        key: SubmitKey | None = None,
    ) -> list[Job]:
        if not jobs:
            return []
        owner, now = jobs[0].owner, jobs[0].created_at
        if key is not None and (known := await self.find_key(owner, key, now)) is not None:
            return list(known)
        equal = [await self.find_equal(owner, job.fingerprint, join) for job in jobs]
        pending = self.matching(lambda job: job.state is JobState.PENDING)
        if max_of_owner is not None and len(_of(owner, pending)) + equal.count(None) > max_of_owner:
            raise TooManyJobs
        new = [job for job, there in zip(jobs, equal, strict=True) if there is None]
        if not self._has_room(new):
            raise batch_full()
        if len(pending) + len(new) > max_pending:
            raise QueueFull
        if any(job.id in self._jobs or not _is_json(job.metadata) for job in new):
            raise StorageFailure
        joined = len(jobs) - len(new)
        added = [
            there or self._add(job, size - joined) for job, size, there in zip(jobs, batch_sizes, equal, strict=True)
        ]
        if key is not None:
            self._keys[owner, key.text] = (key.digest, [job.id for job in added], now + key.lifetime)
        return added

    def _add(self, job: Job, batch_size: int) -> Job:
        self._sequence += 1
        turn = turn_among(self._jobs.values(), job)
        job = replace(job, turn=turn, sequence=self._sequence, created_at=job.created_at.astimezone(UTC))
        self._join_batch(self._put(job), batch_size)
        return job

    async def find_key(self, owner: str, key: SubmitKey, now: datetime) -> Sequence[Job] | None:
        digest, job_ids, until = self._keys.get((owner, key.text), ("", [], now))
        if until <= now or not all(job_id in self._jobs for job_id in job_ids):
            return None
        if digest != key.digest:
            raise SubmitKeyReused
        return [self._jobs[job_id] for job_id in job_ids]

    async def get(self, job_id: str) -> Job:
        try:
            return self._jobs[job_id]
        except KeyError:
            raise JobNotFound from None

    async def ages(self, job_ids: Collection[str]) -> Mapping[str, tuple[int, int]]:
        return {job_id: self._jobs[job_id].age for job_id in job_ids if job_id in self._jobs}

    async def find_equal(self, owner: str, fingerprint: str, join: Join = Join.ALSO_DONE) -> Job | None:
        def is_of_use(job: Job) -> bool:
            is_there = bool(job.artifacts) and all(picture.name not in self._missing for picture in job.artifacts)
            is_done = job.state is JobState.COMPLETED and is_there
            return job.state in UNFINISHED or (is_done and join is Join.ALSO_DONE)

        if join is Join.NONE:
            return None
        wanted = (owner, fingerprint)
        equal = self.matching(lambda job: (job.owner, job.fingerprint) == wanted and is_of_use(job))
        return equal[-1] if equal else None

    async def with_fingerprint(self, prefix: str, owner: str | None) -> Sequence[Job]:
        found = self.matching(lambda job: job.fingerprint.startswith(prefix) and owner in (None, job.owner))
        return found[: -WITH_FINGERPRINT_AT_MOST - 1 : -1]

    async def move_up(self, job: Job, priority: int) -> Job | None:
        waiting = self._in_state(job.id, JobState.PENDING)
        if waiting is None or waiting.priority >= priority or is_suspect(waiting):
            return None
        moved = replace(waiting, priority=priority)
        return self._put(replace(moved, turn=turn_among(self._jobs.values(), moved)))

    async def claim(self, job_id: str, worker: str, now: datetime) -> Job | None:
        job = self._in_state(job_id, JobState.PENDING)
        if job is None:
            return None
        now = now.astimezone(UTC)
        attempt = Attempt(number=len(job.attempts) + 1, worker=worker, started_at=now)
        return self._put(
            replace(job, state=JobState.PROCESSING, started_at=now, attempts=(*job.attempts, attempt)),
        )

    async def generate(
        self, job_id: str, attempt: int, artifacts: Sequence[Artifact], adjustments: Sequence[str]
    ) -> Job | None:
        job = self._running(job_id, attempt)
        if job is None or job.state is not JobState.PROCESSING:
            return None
        return self._put(replace(_with_more(job, artifacts, adjustments), state=JobState.GENERATED))

    async def complete(
        self, job_id: str, attempt: int, artifacts: Sequence[Artifact], adjustments: Sequence[str], now: datetime
    ) -> Job | None:
        job = self._running(job_id, attempt)
        if job is None:
            return None
        job = _closed(_with_more(job, artifacts, adjustments), None, now)
        return self._put(replace(job, state=JobState.COMPLETED, finished_at=now))

    async def give_back(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        job = self._running(job_id, attempt)
        if job is None:
            return None
        turn = turn_behind(self._jobs.values(), job) if is_suspect(job) else job.turn
        job = replace(_closed(job, failure, now), turn=turn)
        return self._put(replace(job, state=JobState.PENDING, started_at=None, artifacts=()))

    async def fail(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        job = self._running(job_id, attempt) if attempt else self._in_state(job_id, JobState.PENDING)
        if job is None:
            return None
        if attempt:
            job = _closed(job, failure, now)
        return self._put(replace(job, state=JobState.FAILED, failure=failure, finished_at=now))

    async def cancel(self, job_id: str, now: datetime) -> Job | None:
        job = self._in_state(job_id, JobState.PENDING, JobState.PROCESSING)
        if job is None:
            return None
        if job.state is JobState.PROCESSING:
            job = _closed(job, None, now)
        return self._put(replace(job, state=JobState.CANCELLED, finished_at=now))

    async def counts(self) -> Mapping[JobState, int]:
        return {state: sum(job.state is state for job in self._jobs.values()) for state in JobState}

    async def unfinished_counts(self) -> Mapping[JobState, int]:
        return {state: number for state, number in (await self.counts()).items() if not state.is_final}

    async def waiting_before(self, job: Job) -> int:
        order = order_of_taking(job)
        return sum(order_of_taking(other) < order for other in self._jobs.values() if other.state is JobState.PENDING)

    async def unfinished(self) -> Sequence[Job]:
        return sorted((job for job in self._jobs.values() if job.state in UNFINISHED), key=order_of_taking)

    async def artifact_names(self, job_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        known = [self._jobs[job_id] for job_id in job_ids if job_id in self._jobs]
        return {job.id: frozenset(artifact.name for artifact in job.artifacts) for job in known}

    async def noted_missing(self, *, after: str = "", before: str | None = None, limit: int) -> Mapping[str, bool]:
        names = sorted(artifact.name for job in self._jobs.values() for artifact in job.artifacts)
        between = [name for name in names if name > after and (before is None or name < before)]
        return {name: name in self._missing for name in between[:limit]}

    async def note_missing(self, missing: Mapping[str, bool]) -> None:
        self._missing -= missing.keys()
        self._missing |= {name for name, is_missing in missing.items() if is_missing}

    def matching(self, condition: Callable[[Job], bool]) -> list[Job]:
        """Jobs in the order of acceptance."""
        return sorted(filter(condition, self._jobs.values()), key=lambda job: job.sequence)

    def shown_batches(self, owner: str | None) -> list[Batch]:
        """What the history shows, newest first."""
        entries = (entry for entry in self._batches.values() if owner in (None, entry.owner))
        return [self._batch(entry) for entry in sorted(entries, key=lambda entry: -entry.sequence)]

    def drop(self, job_ids: Collection[str]) -> int:
        """Forgets those of these jobs that have ended, and batches that show none any more."""
        ended = [job_id for job_id in job_ids if job_id in self._jobs and self._jobs[job_id].state.is_final]
        for job_id in ended:
            del self._jobs[job_id]
        for batch in [self._batch(entry) for entry in self._batches.values()]:
            if not batch.jobs:
                self.forget_batch(batch)
        return len(ended)

    def forget_batch(self, batch: Batch) -> None:
        """The batch is shown no more."""
        del self._batches[batch.owner, batch.id]

    def _join_batch(self, job: Job, batch_size: int) -> None:
        entry = self._batches.get((job.owner, job.batch_id)) or _BatchEntry(
            id=job.batch_id, owner=job.owner, sequence=job.sequence, created_at=job.created_at, size=batch_size
        )
        size = max(entry.size, batch_size, len(self._batch(entry).jobs))
        self._batches[entry.owner, entry.id] = replace(entry, size=size)

    def _has_room(self, new: Sequence[Job]) -> bool:
        more = Counter((job.owner, job.batch_id) for job in new)
        entries = {place: self._batches.get(place) for place in more}
        shown = {place: len(self._batch(entry).jobs) if entry else 0 for place, entry in entries.items()}
        return all(shown[place] + more[place] <= MAX_BATCH_JOBS for place in more)

    def _batch(self, entry: _BatchEntry) -> Batch:
        jobs = self.matching(
            lambda job: (job.owner, job.batch_id) == (entry.owner, entry.id) and job.sequence >= entry.sequence
        )
        return Batch(
            id=entry.id,
            owner=entry.owner,
            created_at=entry.created_at,
            size=entry.size,
            jobs=tuple(sorted(jobs, key=lambda job: (job.batch_index, job.sequence))),
        )

    def _put(self, job: Job) -> Job:
        self._jobs[job.id] = job
        return job

    def _in_state(self, job_id: str, *states: JobState) -> Job | None:
        job = self._jobs.get(job_id)
        return job if job is not None and job.state in states else None

    def _running(self, job_id: str, attempt: int) -> Job | None:
        job = self._in_state(job_id, *RUNNING)
        return job if job is not None and len(job.attempts) == attempt else None


class InMemoryBatchStore:
    """The batches of an InMemoryJobStore."""

    def __init__(self, jobs: InMemoryJobStore) -> None:
        self._jobs = jobs

    async def batches(
        self, owner: str | None, *, limit: int, offset: int, wanted: BatchFilter = ANY_BATCH
    ) -> Sequence[Batch]:
        shown = [batch for batch in self._jobs.shown_batches(owner) if wanted.fits(batch)]
        return shown[offset : offset + limit]

    async def batch(self, batch_id: str, owner: str | None) -> Batch:
        for batch in self._jobs.shown_batches(owner):
            if batch.id == batch_id:
                return batch
        raise BatchNotFound

    async def owners(self, batch_id: str) -> Sequence[str]:
        return [batch.owner for batch in self._jobs.shown_batches(None) if batch.id == batch_id]

    async def forget(self, batch_id: str, owner: str | None) -> None:
        self._jobs.forget_batch(await self.batch(batch_id, owner))


class InMemoryKeptJobs:
    """A `KeptJobs` over an InMemoryJobStore."""

    def __init__(self, jobs: InMemoryJobStore) -> None:
        self._jobs = jobs

    async def now(self) -> datetime:
        return utc_now()

    async def accepted_since(self, moment: datetime) -> Sequence[tuple[str, datetime]]:
        return [(job.owner, job.created_at) for job in self._jobs.matching(lambda job: job.created_at > moment)]

    async def ended_before(self, moment: datetime, *, now: datetime, after: int, limit: int) -> Sequence[Job]:
        found = self._jobs.matching(lambda job: bool(job.finished_at and job.finished_at < moment))
        return [job for job in found if job.sequence > after][:limit]

    async def artifact_bytes(self, owner: str | None) -> int:
        jobs = self._jobs.matching(lambda job: owner in (None, job.owner))
        return sum(artifact.size_bytes for job in jobs for artifact in job.artifacts)

    async def input_names(self, owner: str | None) -> frozenset[str]:
        jobs = self._jobs.matching(lambda job: owner in (None, job.owner))
        return frozenset(image.name for job in jobs for image in job.request.inputs)

    async def begin_removal(self, job_ids: Collection[str]) -> None:
        """`find_equal` of these jobs is asked by no test."""

    async def remove(self, job_ids: Collection[str]) -> int:
        return self._jobs.drop(job_ids)


class InMemorySubscriptions:
    """Subscriptions to the jobs of an InMemoryJobStore."""

    def __init__(self, jobs: InMemoryJobStore) -> None:
        self._jobs = jobs
        self._job_ids: dict[tuple[str, str], dict[str, None]] = {}  # an ordered set for each client

    async def add(self, owner: str, client: str, job_id: str) -> None:
        try:
            await self._jobs.get(job_id)
        except JobNotFound as exc:
            raise StorageFailure from exc
        self._job_ids.setdefault((owner, client), {}).setdefault(job_id)

    async def jobs(self, owner: str, client: str, *, ended: int) -> Sequence[Job]:
        found: list[Job] = []
        for job_id in reversed(self._job_ids.get((owner, client), {})):
            job = await self._jobs.get(job_id)
            if job.state.is_final:
                ended -= 1
            if not job.state.is_final or ended >= 0:
                found.append(job)
        return found


def _with_more(job: Job, artifacts: Sequence[Artifact], adjustments: Sequence[str]) -> Job:
    kinds = [artifact.kind for artifact in (*job.artifacts, *artifacts)]
    if len(set(kinds)) < len(kinds):
        raise StorageFailure
    return replace(
        job,
        artifacts=tuple(sorted((*job.artifacts, *artifacts), key=lambda artifact: artifact.kind)),
        adjustments=tuple(dict.fromkeys((*job.adjustments, *adjustments))),
    )


def _closed(job: Job, failure: JobFailure | None, now: datetime) -> Job:
    last = replace(job.attempts[-1], ended_at=now, failure=failure)
    return replace(job, attempts=(*job.attempts[:-1], last))


def _of(owner: str, jobs: Sequence[Job]) -> Sequence[Job]:
    return [job for job in jobs if job.owner == owner]


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
