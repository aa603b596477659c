"""The JobLine over a PostgreSQL database: which of the waiting jobs goes next, found by a few entries of an index."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, RowMapping

from danqing.core.batching import batch_key
from danqing.core.errors import StorageFailure
from danqing.core.shared_store import Waiting
from danqing.core.types import Job
from danqing.store import line_claims, loading
from danqing.store.database import Database
from danqing.store.line_claims import WINDOW, Lost
from danqing.store.line_rows import WAITING, full_owners, head, running_of_owners
from danqing.store.remembered import Remembered
from danqing.store.rows import request_from
from danqing.store.unread_jobs import UnreadJobs

TRIES = 16  # at claims that others are quicker at; then they have what waits


class PostgresJobLine:
    """Implements `core.shared_store.JobLine`."""

    def __init__(self, database: Database, *, unread: UnreadJobs | None = None) -> None:
        self._database = database
        self._unread = unread or UnreadJobs()
        self._waiting = Remembered(
            lambda: database.read(_waiting), jobs_in=lambda told: sum(model.jobs for model in told.values())
        )

    async def claim(
        self, model: str, worker: str, now: datetime, *, max_running_of_owner: int | None = None
    ) -> Job | None:
        """See the port; so for all below."""
        work = partial(
            line_claims.claim_next,
            model=model,
            worker=worker,
            now=now,
            max_running=max_running_of_owner,
            unread=self._unread,
        )
        proof = partial(line_claims.claimed, worker=worker, at=now)
        for _ in range(TRIES):
            if self._unread.rests(model):
                return None
            claimed = await self._database.write(work, durable=True, proof=proof)
            if not isinstance(claimed, Lost):
                return claimed
        return None

    async def claimed(self, worker: str, at: datetime) -> Job | None:
        # A write: its look comes after its wait; a read sees the moment in which it began to wait.
        return await self._database.write(partial(line_claims.claimed, worker=worker, at=at), durable=False)

    def leaves_some(self, model: str) -> bool:
        return bool(self._unread.of(model))

    async def alike(self, job: Job, most: int, *, max_running_of_owner: int | None = None) -> Sequence[str]:
        if most < 1:
            return []
        return await self._database.read(
            partial(_alike, job=job, most=most, max_running=max_running_of_owner, unread=self._unread)
        )

    async def waiting(self) -> Mapping[str, Waiting]:
        return await self._waiting.get()

    async def waiting_now(self) -> Mapping[str, Waiting]:
        return await self._database.read(_waiting)

    async def first(self, model: str, most: int) -> Sequence[Job]:
        return await self._database.read(partial(_first, model=model, most=most, unread=self._unread))


def _alike(connection: Connection, job: Job, most: int, max_running: int | None, unread: UnreadJobs) -> list[str]:
    running = running_of_owners(connection, max_running)
    looked_at = most if max_running is None else max(most, WINDOW)
    model, full = job.request.model, full_owners(running, max_running)
    in_line = head(connection, model, looked_at, unread=unread.of(model), passed_over=full)
    key, found = batch_key(job.request), list[str]()
    for row in in_line:
        if max_running is not None and running[row["owner"]] >= max_running:
            continue
        if row["priority"] != job.priority or row["attempt_count"] or not _is_alike(row, key):
            break
        found.append(row["id"])
        running[row["owner"]] += 1
        if len(found) == most:
            break
    return found


def _is_alike(row: RowMapping, key: object) -> bool:
    try:
        return batch_key(request_from(row["request"])) == key
    except StorageFailure:
        return False


def _waiting(connection: Connection) -> Mapping[str, Waiting]:
    found = connection.execute(WAITING)
    return {model: Waiting(jobs=number, oldest=oldest) for model, number, oldest in found}


def _first(connection: Connection, model: str, most: int, unread: UnreadJobs) -> Sequence[Job]:
    """Without those that only a newer version can read: its processes send for them."""
    found = list[Job]()
    in_line = head(connection, model, most, unread=unread.of(model))
    for rows in loading.rows_of(connection, [row["id"] for row in in_line]):
        try:
            found.append(rows.job())
        except StorageFailure:
            unread.note(rows.row["id"], model)
    return found
