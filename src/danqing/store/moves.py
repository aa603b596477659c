"""Writing: a new job and its moves from state to state, each a compare-and-set over a connection in a transaction.

A move returns None, and has changed nothing, where the job is not in the state that it starts from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, update

from danqing.core.errors import StorageFailure
from danqing.core.states import JobState
from danqing.core.types import Artifact, Job, JobFailure
from danqing.store import queries
from danqing.store.rows import Values, adjustments_text, artifact_values, failure_values, job_values
from danqing.store.schema import artifacts, attempts, jobs


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a write did: the job after it, and its state before (None: it is new; the same state: it was found)."""

    job: Job
    before: JobState | None


INSERT_JOB = insert(jobs).returning(jobs.c.sequence)
INSERT_ATTEMPT = insert(attempts)
INSERT_ARTIFACTS = insert(artifacts)
# What an UPDATE sets is named by the parameters it is executed with.
MOVE = update(jobs).where(jobs.c.id == bindparam("of_job"), jobs.c.state == bindparam("from_state"))
MOVE_OF_ATTEMPT = MOVE.where(jobs.c.attempt_count == bindparam("of_attempt"))
CLAIM = MOVE.values(attempt_count=jobs.c.attempt_count + 1).returning(jobs.c.attempt_count)
CLOSE_ATTEMPT = update(attempts).where(
    attempts.c.job_id == bindparam("of_job"), attempts.c.number == bindparam("of_attempt")
)
UNREADABLE = JobFailure(
    code=StorageFailure.code, message="The stored request cannot be read by this version of the server."
)


def add(connection: Connection, job: Job, max_pending: int, join_equal: bool) -> Change | None:
    """Stores a new pending job and gives it its sequence, unless max_pending jobs are pending.

    join_equal: an equal one of its owner (`queries.find_equal`) is found instead, if there is one.
    """
    if join_equal and (equal := queries.find_equal(connection, job.owner, job.fingerprint)) is not None:
        return Change(job=equal, before=equal.state)
    if queries.count_pending(connection) >= max_pending:
        return None
    sequence: int = connection.execute(INSERT_JOB, job_values(job)).scalar_one()
    return Change(job=replace(job, sequence=sequence), before=None)


def claim(connection: Connection, job_id: str, worker: str, now: datetime) -> Change | None:
    """pending → processing with a new attempt."""
    move = _from_to(job_id, JobState.PENDING, JobState.PROCESSING)
    number: int | None = connection.execute(CLAIM, {**move, "started_at": now}).scalar()
    if number is None:
        return None
    connection.execute(INSERT_ATTEMPT, {"job_id": job_id, "number": number, "worker": worker, "started_at": now})
    return _change(connection, job_id, JobState.PENDING)


def complete(
    connection: Connection,
    job_id: str,
    attempt: int,
    pictures: Sequence[Artifact],
    adjustments: Sequence[str],
    now: datetime,
) -> Change | None:
    """processing → completed. adjustments are added to those that the job has already."""
    values: Values = {"finished_at": now}
    if adjustments and (job := queries.find(connection, job_id)) is not None:
        values["adjustments"] = adjustments_text(tuple(dict.fromkeys((*job.adjustments, *adjustments))))
    if not _end_attempt(connection, job_id, attempt, JobState.COMPLETED, None, now, values):
        return None
    if pictures:
        connection.execute(INSERT_ARTIFACTS, [artifact_values(job_id, picture) for picture in pictures])
    return _change(connection, job_id, JobState.PROCESSING)


def give_back(connection: Connection, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Change | None:
    """processing → pending."""
    if not _end_attempt(connection, job_id, attempt, JobState.PENDING, failure, now, {"started_at": None}):
        return None
    return _change(connection, job_id, JobState.PROCESSING)


def fail(connection: Connection, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Change | None:
    """processing → failed; with attempt 0, pending → failed."""
    before = JobState.PROCESSING if attempt else JobState.PENDING
    moved = _fail(connection, job_id, before, attempt, failure, now)
    return _change(connection, job_id, before) if moved else None


def fail_unreadable(connection: Connection, now: datetime) -> None:
    """pending or processing → failed, for the jobs that this version cannot read; each is logged."""
    for job in queries.unreadable(connection):
        _fail(connection, job.id, job.state, job.attempt, UNREADABLE, now)


def cancel(connection: Connection, job_id: str, now: datetime) -> Change | None:
    """pending or processing → cancelled; a running attempt is closed without a failure."""
    job = queries.find(connection, job_id)
    if job is None or job.state not in (JobState.PENDING, JobState.PROCESSING):
        return None
    if job.state is JobState.PROCESSING:
        moved = _end_attempt(connection, job_id, len(job.attempts), JobState.CANCELLED, None, now, {"finished_at": now})
    else:
        move = _from_to(job_id, JobState.PENDING, JobState.CANCELLED)
        moved = connection.execute(MOVE, {**move, "finished_at": now}).rowcount == 1
    return _change(connection, job_id, job.state) if moved else None


def _fail(
    connection: Connection, job_id: str, before: JobState, attempt: int, failure: JobFailure, now: datetime
) -> bool:
    values: Values = {"finished_at": now, **failure_values(failure)}
    if before is JobState.PROCESSING:
        return _end_attempt(connection, job_id, attempt, JobState.FAILED, failure, now, values)
    move = _from_to(job_id, before, JobState.FAILED)
    return connection.execute(MOVE, {**move, **values}).rowcount == 1


def _end_attempt(
    connection: Connection,
    job_id: str,
    attempt: int,
    after: JobState,
    failure: JobFailure | None,
    now: datetime,
    values: Values,
) -> bool:
    """Moves a processing job whose newest attempt is this one, and closes the attempt; False for an outdated one."""
    move = _from_to(job_id, JobState.PROCESSING, after)
    moved = connection.execute(MOVE_OF_ATTEMPT, {**move, "of_attempt": attempt, **values}).rowcount == 1
    if moved:
        _close_attempt(connection, job_id, attempt, failure, now)
    return moved


def _close_attempt(
    connection: Connection, job_id: str, attempt: int, failure: JobFailure | None, now: datetime
) -> None:
    which: Values = {"of_job": job_id, "of_attempt": attempt}
    connection.execute(CLOSE_ATTEMPT, {**which, "ended_at": now, **failure_values(failure)})


def _from_to(job_id: str, before: JobState, after: JobState) -> Values:
    return {"of_job": job_id, "from_state": before.value, "state": after.value}


def _change(connection: Connection, job_id: str, before: JobState) -> Change:
    job = queries.find(connection, job_id)
    if job is None:
        raise StorageFailure
    return Change(job=job, before=before)
