"""The JobStore of one server on one machine: a SQLite file in WAL mode, one writing thread, one reading thread."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from danqing.core.errors import JobNotFound, QueueFull, StorageFailure
from danqing.core.states import JobState
from danqing.core.studio import utc_now
from danqing.core.types import Artifact, Job, JobFailure
from danqing.store import moves, queries
from danqing.store.connections import open_reading, open_writing
from danqing.store.migration import migrate
from danqing.store.moves import Change
from danqing.store.writer import GroupCommitWriter

T = TypeVar("T")
log = structlog.get_logger(__name__)


class SqliteJobStore:
    """Implements `core.ports.JobStore`. Made by `open`; the data directory's lock must be held as long as it lives.

    Writes share transactions (`writer.py`). What a caller was promised is synced before it is answered; claims and
    give-backs are not, since losing one in a power cut only makes a job run again. Reads see every answered write.
    """

    def __init__(self, *, writing: Connection, reading: Connection, counts: Mapping[JobState, int]) -> None:
        self._counts = counts  # replaced, never changed, by the writing thread
        self._writer = GroupCommitWriter[Change | None](writing, on_commit=self._count)
        self._reading = reading
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-reader")

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], datetime] = utc_now) -> Self:
        """Opens the file, creating or migrating it where needed; its folder must exist. Blocking.

        Unfinished jobs that this version cannot read have failed afterwards: nothing else would ever end them.
        Raises StorageFailure, also for a file that a newer version has written.
        """
        try:
            writing = open_writing(path)
        except (SQLAlchemyError, OSError) as exc:
            raise _cannot_open(exc) from exc
        try:
            migrate(writing)
            with writing.begin():
                moves.fail_unreadable(writing, clock())
                counts = queries.count_states(writing)
            return cls(writing=writing, reading=open_reading(path), counts=counts)
        except (SQLAlchemyError, OSError, ValueError) as exc:
            writing.close()
            raise _cannot_open(exc) from exc
        except StorageFailure:
            writing.close()
            raise

    async def close(self) -> None:
        """Finishes the calls under way and closes the file; later calls raise StorageFailure. Twice is fine."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._reader.shutdown(wait=True)
        self._reading.close()
        self._writer.close()  # the last to close, for it checkpoints

    async def add(self, job: Job, max_pending: int, *, join_equal: bool = False) -> Job:
        """See the port; so for all below."""
        work = partial(moves.add, job=job, max_pending=max_pending, join_equal=join_equal)
        added = await self._write(work, durable=True)
        if added is None:
            raise QueueFull
        return added

    async def get(self, job_id: str) -> Job:
        job = await self._read(partial(queries.find, job_id=job_id))
        if job is None:
            raise JobNotFound
        return job

    async def find_equal(self, owner: str, fingerprint: str) -> Job | None:
        return await self._read(partial(queries.find_equal, owner=owner, fingerprint=fingerprint))

    async def claim(self, job_id: str, worker: str, now: datetime) -> Job | None:
        return await self._write(partial(moves.claim, job_id=job_id, worker=worker, now=now), durable=False)

    async def complete(
        self, job_id: str, attempt: int, artifacts: Sequence[Artifact], adjustments: Sequence[str], now: datetime
    ) -> Job | None:
        work = partial(
            moves.complete, job_id=job_id, attempt=attempt, pictures=artifacts, adjustments=adjustments, now=now
        )
        return await self._write(work, durable=True)

    async def give_back(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        work = partial(moves.give_back, job_id=job_id, attempt=attempt, failure=failure, now=now)
        return await self._write(work, durable=False)

    async def fail(self, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Job | None:
        work = partial(moves.fail, job_id=job_id, attempt=attempt, failure=failure, now=now)
        return await self._write(work, durable=True)

    async def cancel(self, job_id: str, now: datetime) -> Job | None:
        return await self._write(partial(moves.cancel, job_id=job_id, now=now), durable=True)

    async def counts(self) -> Mapping[JobState, int]:
        return self._counts

    async def waiting_before(self, job: Job) -> int:
        return await self._read(partial(queries.waiting_before, priority=job.priority, sequence=job.sequence))

    async def unfinished(self) -> Sequence[Job]:
        return await self._read(queries.unfinished)

    async def without_artifacts(self) -> frozenset[str]:
        return await self._read(queries.without_artifacts)

    def _count(self, change: Change | None) -> None:
        if change is None:
            return
        counts = dict(self._counts)
        counts[change.job.state] += 1
        if change.before is not None:
            counts[change.before] -= 1
        self._counts = counts

    async def _write(self, work: Callable[[Connection], Change | None], *, durable: bool) -> Job | None:
        change = await asyncio.wrap_future(self._writer.submit(work, durable=durable))
        return None if change is None else change.job

    async def _read(self, query: Callable[[Connection], T]) -> T:
        try:
            answer = self._reader.submit(self._query, query)
        except RuntimeError as exc:
            raise StorageFailure("The store is closed.") from exc
        return await asyncio.wrap_future(answer)

    def _query(self, query: Callable[[Connection], T]) -> T:
        """Runs in the reading thread: every query sees one state of the database, the newest committed."""
        try:
            with self._reading.begin():
                return query(self._reading)
        except (SQLAlchemyError, ValueError) as exc:
            log.error("store_read_failed", error=type(exc).__name__, reason=str(exc))
            raise StorageFailure from exc


def _cannot_open(cause: Exception) -> StorageFailure:
    log.error("store_open_failed", error=type(cause).__name__, reason=str(cause))
    return StorageFailure("The database cannot be opened.")
