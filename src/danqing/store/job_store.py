"""The JobStore over a SQLite database."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Self

from sqlalchemy import Connection

from danqing.core.errors import DanqingError, JobNotFound, QueueFull, StorageFailure, SubmitKeyReused, TooManyJobs
from danqing.core.states import JobState
from danqing.core.studio import utc_now
from danqing.core.submitting import Join, SubmitKey
from danqing.core.types import Artifact, Job, JobFailure
from danqing.store import loading, moves, queries, submit_keys
from danqing.store.database import SqliteDatabase
from danqing.store.moves import Change, Refusal, Terms
from danqing.store.room import Room

_REFUSALS: Mapping[Refusal, type[DanqingError]] = {
    Refusal.QUEUE_FULL: QueueFull,
    Refusal.OWNER_FULL: TooManyJobs,
    Refusal.KEY_REUSED: SubmitKeyReused,
}


class SqliteJobStore:
    """Implements `core.ports.JobStore`. Made by `over`.

    What a caller was promised is synced before it is answered; claims and give-backs are not, since losing one in a
    power cut only makes a job run again.
    """

    def __init__(self, database: SqliteDatabase, counts: Mapping[JobState, int]) -> None:
        self._database = database
        self._counts = counts  # replaced, never changed, by the writing thread
        self._room = Room()

    @classmethod
    def over(cls, database: SqliteDatabase, *, clock: Callable[[], datetime] = utc_now) -> Self:
        """The jobs of a database that nobody else writes to. Blocking. Raises StorageFailure.

        Unfinished jobs that this version cannot read have failed afterwards: nothing else would ever end them.
        """

        def begin(connection: Connection) -> Mapping[JobState, int]:
            moves.fail_unreadable(connection, clock())
            return queries.count_states(connection)

        return cls(database, database.submit(begin, durable=True).result())

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
        """See the port; so for all below."""
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
        terms = Terms(max_pending=max_pending, max_of_owner=max_of_owner, join=join, key=key)
        work = partial(moves.add, room=self._room, jobs=jobs, batch_sizes=batch_sizes, terms=terms)
        try:
            answer = await self._database.write(work, durable=True, on_commit=self._count_all)
        except StorageFailure:
            self._room.forget()
            raise
        if isinstance(answer, Refusal):
            raise _REFUSALS[answer]()
        return [change.job for change in answer]

    async def find_key(self, owner: str, key: SubmitKey, now: datetime) -> Sequence[Job] | None:
        known = await self._database.read(partial(submit_keys.find, owner=owner, key=key, now=now))
        if isinstance(known, bool):
            raise SubmitKeyReused
        return known

    async def get(self, job_id: str) -> Job:
        job = await self._database.read(partial(loading.find, job_id=job_id))
        if job is None:
            raise JobNotFound
        return job

    async def find_equal(self, owner: str, fingerprint: str, join: Join = Join.ALSO_DONE) -> Job | None:
        query = partial(queries.find_equal, owner=owner, fingerprint=fingerprint, join=join)
        return await self._database.read(query)

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
        def work(connection: Connection) -> Change | None:
            self._room.one_more()
            return moves.give_back(connection, job_id, attempt, failure, now)

        return await self._move(work, durable=False)

    async def fail(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        work = partial(moves.fail, job_id=job_id, attempt=attempt, failure=failure, now=now)
        return await self._move(work, durable=True)

    async def cancel(self, job_id: str, now: datetime) -> Job | None:
        return await self._move(partial(moves.cancel, job_id=job_id, now=now), durable=True)

    async def counts(self) -> Mapping[JobState, int]:
        return self._counts

    async def waiting_before(self, job: Job) -> int:
        return await self._database.read(partial(queries.waiting_before, job=job))

    async def unfinished(self) -> Sequence[Job]:
        return await self._database.read(queries.unfinished)

    async def artifact_names(self, job_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        return await self._database.read(partial(queries.artifact_names, job_ids=list(job_ids)))

    async def note_missing(self, present: Collection[str]) -> frozenset[str]:
        return await self._database.write(partial(moves.note_missing, present=present), durable=True)

    async def _move(self, work: Callable[[Connection], Change | None], *, durable: bool) -> Job | None:
        change = await self._database.write(work, durable=durable, on_commit=self._count)
        return None if change is None else change.job

    def _count_all(self, answer: Sequence[Change] | Refusal) -> None:
        if not isinstance(answer, Refusal):
            for change in answer:
                self._count(change)

    def count_removed(self, ended: Mapping[JobState, int]) -> None:
        """So many jobs, by how they had ended, are there no more (`kept_jobs.py`). For the writing thread."""
        self._counts = {state: number - ended.get(state, 0) for state, number in self._counts.items()}

    def _count(self, change: Change | None) -> None:
        """Runs in the writing thread."""
        if change is None:
            return
        counts = dict(self._counts)
        counts[change.job.state] += 1
        if change.before is not None:
            counts[change.before] -= 1
        self._counts = counts
