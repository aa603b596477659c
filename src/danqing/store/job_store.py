"""The JobStore over a SQLite database."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Self

from sqlalchemy import Connection

from danqing.core.errors import JobNotFound, QueueFull
from danqing.core.states import JobState
from danqing.core.studio import utc_now
from danqing.core.types import Artifact, Job, JobFailure
from danqing.store import loading, moves, queries
from danqing.store.database import SqliteDatabase
from danqing.store.moves import Change


class SqliteJobStore:
    """Implements `core.ports.JobStore`. Made by `over`.

    What a caller was promised is synced before it is answered; claims and give-backs are not, since losing one in a
    power cut only makes a job run again.
    """

    def __init__(self, database: SqliteDatabase, counts: Mapping[JobState, int]) -> None:
        self._database = database
        self._counts = counts  # replaced, never changed, by the writing thread

    @classmethod
    def over(cls, database: SqliteDatabase, *, clock: Callable[[], datetime] = utc_now) -> Self:
        """The jobs of a database that nobody else writes to. Blocking. Raises StorageFailure.

        Unfinished jobs that this version cannot read have failed afterwards: nothing else would ever end them.
        """

        def begin(connection: Connection) -> Mapping[JobState, int]:
            moves.fail_unreadable(connection, clock())
            return queries.count_states(connection)

        return cls(database, database.submit(begin, durable=True).result())

    async def add(self, job: Job, max_pending: int, *, batch_size: int = 1, join_equal: bool = False) -> Job:
        """See the port; so for all below."""
        work = partial(moves.add, job=job, max_pending=max_pending, batch_size=batch_size, join_equal=join_equal)
        added = await self._move(work, durable=True)
        if added is None:
            raise QueueFull
        return added

    async def add_all(self, jobs: Sequence[Job], max_pending: int, *, batch_sizes: Sequence[int]) -> list[Job]:
        work = partial(moves.add_all, jobs=jobs, max_pending=max_pending, batch_sizes=batch_sizes)
        changes = await self._database.write(work, durable=True, on_commit=self._count_all)
        if changes is None:
            raise QueueFull
        return [change.job for change in changes]

    async def get(self, job_id: str) -> Job:
        job = await self._database.read(partial(loading.find, job_id=job_id))
        if job is None:
            raise JobNotFound
        return job

    async def find_equal(self, owner: str, fingerprint: str) -> Job | None:
        return await self._database.read(partial(queries.find_equal, owner=owner, fingerprint=fingerprint))

    async def with_fingerprint(self, prefix: str, owner: str | None) -> Sequence[Job]:
        return await self._database.read(partial(queries.with_fingerprint, prefix=prefix, owner=owner))

    async def claim(self, job_id: str, worker: str, now: datetime) -> Job | None:
        return await self._move(partial(moves.claim, job_id=job_id, worker=worker, now=now), durable=False)

    async def generate(
        self, job_id: str, attempt: int, artifacts: Sequence[Artifact], adjustments: Sequence[str], now: datetime
    ) -> Job | None:
        work = partial(moves.generate, job_id=job_id, attempt=attempt, pictures=artifacts, adjustments=adjustments)
        return await self._move(work, durable=True)

    async def complete(
        self, job_id: str, attempt: int, artifacts: Sequence[Artifact], adjustments: Sequence[str], now: datetime
    ) -> Job | None:
        work = partial(
            moves.complete, job_id=job_id, attempt=attempt, pictures=artifacts, adjustments=adjustments, now=now
        )
        return await self._move(work, durable=True)

    async def give_back(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        work = partial(moves.give_back, job_id=job_id, attempt=attempt, failure=failure, now=now)
        return await self._move(work, durable=False)

    async def fail(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        work = partial(moves.fail, job_id=job_id, attempt=attempt, failure=failure, now=now)
        return await self._move(work, durable=True)

    async def cancel(self, job_id: str, now: datetime) -> Job | None:
        return await self._move(partial(moves.cancel, job_id=job_id, now=now), durable=True)

    async def counts(self) -> Mapping[JobState, int]:
        return self._counts

    async def waiting_before(self, job: Job) -> int:
        query = partial(queries.waiting_before, priority=job.priority, sequence=job.sequence)
        return await self._database.read(query)

    async def unfinished(self) -> Sequence[Job]:
        return await self._database.read(queries.unfinished)

    async def without_artifacts(self) -> frozenset[str]:
        return await self._database.read(queries.without_artifacts)

    async def _move(self, work: Callable[[Connection], Change | None], *, durable: bool) -> Job | None:
        change = await self._database.write(work, durable=durable, on_commit=self._count)
        return None if change is None else change.job

    def _count_all(self, changes: Sequence[Change] | None) -> None:
        for change in changes or ():
            self._count(change)

    def _count(self, change: Change | None) -> None:
        """Runs in the writing thread."""
        if change is None:
            return
        counts = dict(self._counts)
        counts[change.job.state] += 1
        if change.before is not None:
            counts[change.before] -= 1
        self._counts = counts
