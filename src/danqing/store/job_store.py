"""The JobStore over a database."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from danqing.core.batches import batch_full
from danqing.core.errors import DanqingError, JobNotFound, QueueFull, SubmitKeyReused, TooManyJobs
from danqing.core.states import JobState
from danqing.core.submitting import Join, SubmitKey
from danqing.core.types import Artifact, Job, JobFailure
from danqing.store import loading, moves, proofs, queries, submit_keys
from danqing.store.at_hand import JobsAtHand
from danqing.store.bookkeeping import Bookkeeping
from danqing.store.database import Database
from danqing.store.moves import Change, Refusal, Terms
from danqing.store.places import Places

_REFUSALS: Mapping[Refusal, Callable[[], DanqingError]] = {
    Refusal.QUEUE_FULL: QueueFull,
    Refusal.OWNER_FULL: TooManyJobs,
    Refusal.BATCH_FULL: batch_full,
    Refusal.KEY_REUSED: SubmitKeyReused,
}
_Move = Callable[[Connection], Change | None]


class SqlJobStore:
    """Implements `core.ports.JobStore`. books: those of the same database. max_running_of_owner: a claim beyond it
    answers None, where no queue of all those who claim sees to it. at_hand: where no other process writes; whoever
    closes the database empties it.

    What a caller was promised is synced before it is answered; claims and give-backs are not where only a power cut can
    lose them, since that makes a job run again and nothing worse (`Bookkeeping.claims_last`).
    """

    def __init__(
        self,
        database: Database,
        books: Bookkeeping,
        *,
        max_running_of_owner: int | None = None,
        at_hand: JobsAtHand | None = None,
    ) -> None:
        self._database = database
        self._books = books
        self._max_running_of_owner = max_running_of_owner
        self._places = Places()
        self._at_hand = at_hand

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
        if not jobs:
            return []
        work = partial(moves.add, books=self._books, jobs=jobs, batch_sizes=batch_sizes, terms=terms)
        answer = await self._database.write(
            work,
            durable=True,
            on_commit=self._count_all,
            lane=jobs[0].owner,
            proof=partial(proofs.added, jobs=jobs, join=join),
        )
        if isinstance(answer, Refusal):
            raise _REFUSALS[answer]()
        return [change.job for change in answer]

    async def find_key(self, owner: str, key: SubmitKey, now: datetime) -> Sequence[Job] | None:
        known = await self._database.read(partial(submit_keys.find, owner=owner, key=key, now=now))
        if isinstance(known, bool):
            raise SubmitKeyReused
        return known

    async def get(self, job_id: str) -> Job:
        if self._at_hand is not None and (known := self._at_hand.find(job_id)) is not None:
            return known
        job = await self._database.read(partial(loading.find, job_id=job_id))
        if job is None:
            raise JobNotFound
        return job

    async def ages(self, job_ids: Collection[str]) -> Mapping[str, tuple[int, int]]:
        """See `core.shared_store.JobAges`."""
        return await self._database.read(partial(queries.ages, job_ids=list(job_ids)))

    async def find_equal(self, owner: str, fingerprint: str, join: Join = Join.ALSO_DONE) -> Job | None:
        query = partial(queries.find_equal, owner=owner, fingerprint=fingerprint, join=join)
        return await self._database.read(query)

    async def with_fingerprint(self, prefix: str, owner: str | None) -> Sequence[Job]:
        return await self._database.read(partial(queries.with_fingerprint, prefix=prefix, owner=owner))

    async def move_up(self, job: Job, priority: int) -> Job | None:
        work = partial(moves.move_up, books=self._books, job=job, priority=priority)
        return await self._move(work, partial(proofs.moved_up, job_id=job.id, priority=priority), durable=False)

    async def claim(self, job_id: str, worker: str, now: datetime) -> Job | None:
        most = self._max_running_of_owner
        work = partial(moves.claim, books=self._books, job_id=job_id, worker=worker, now=now, max_running=most)
        proof = partial(proofs.claimed, job_id=job_id, worker=worker, now=now)
        return await self._move(work, proof, durable=self._books.claims_last)

    async def generate(
        self, job_id: str, attempt: int, artifacts: Sequence[Artifact], adjustments: Sequence[str]
    ) -> Job | None:
        work = partial(moves.generate, job_id=job_id, attempt=attempt, pictures=artifacts, adjustments=adjustments)
        return await self._move(work, partial(proofs.generated, job_id=job_id, attempt=attempt))

    async def complete(
        self, job_id: str, attempt: int, artifacts: Sequence[Artifact], adjustments: Sequence[str], now: datetime
    ) -> Job | None:
        work = partial(
            moves.complete, job_id=job_id, attempt=attempt, pictures=artifacts, adjustments=adjustments, now=now
        )
        return await self._move(work, partial(proofs.ended, job_id=job_id, state=JobState.COMPLETED, now=now))

    async def give_back(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        def work(connection: Connection) -> Change | None:
            self._books.may_wait_again()
            return moves.give_back(connection, job_id, attempt, failure, now)

        proof = partial(proofs.given_back, job_id=job_id, attempt=attempt, failure=failure, now=now)
        return await self._move(work, proof, durable=self._books.claims_last)

    async def fail(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        work = partial(moves.fail, job_id=job_id, attempt=attempt, failure=failure, now=now)
        return await self._move(work, partial(proofs.ended, job_id=job_id, state=JobState.FAILED, now=now))

    async def cancel(self, job_id: str, now: datetime) -> Job | None:
        work = partial(moves.cancel, job_id=job_id, now=now)
        return await self._move(work, partial(proofs.ended, job_id=job_id, state=JobState.CANCELLED, now=now))

    async def counts(self) -> Mapping[JobState, int]:
        return await self._books.counts()

    async def unfinished_counts(self) -> Mapping[JobState, int]:
        return await self._books.unfinished_counts()

    async def waiting_before(self, job: Job) -> int:
        return await self._database.read(partial(self._places.before, job=job))

    async def unfinished(self) -> Sequence[Job]:
        return await self._database.read(queries.unfinished)

    async def artifact_names(self, job_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        return await self._database.read(partial(queries.artifact_names, job_ids=list(job_ids)))

    async def noted_missing(self, *, after: str = "", before: str | None = None, limit: int) -> Mapping[str, bool]:
        query = partial(queries.noted_missing, after=after, before=before, limit=limit)
        return await self._database.read(query)

    async def note_missing(self, missing: Mapping[str, bool]) -> None:
        await self._database.write(partial(moves.note_missing, missing=missing), durable=True)

    async def _move(self, work: _Move, proof: _Move, *, durable: bool = True) -> Job | None:
        change = await self._database.write(work, durable=durable, on_commit=self._count, proof=proof)
        return None if change is None else change.job

    def _count_all(self, answer: Sequence[Change] | Refusal) -> None:
        self._books.room_committed()
        if not isinstance(answer, Refusal):
            for change in answer:
                self._count(change)

    def _count(self, change: Change | None) -> None:
        if change is not None:
            self._books.moved(change.before, change.job.state)
            if self._at_hand is not None:
                self._at_hand.moved(change.job)
