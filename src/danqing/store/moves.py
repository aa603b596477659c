"""Writing: a new job and its moves from state to state, each a compare-and-set over a connection in a transaction.

A move returns None, and has changed nothing, where the job is not in the state that it starts from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from danqing.core.errors import StorageFailure
from danqing.core.states import JobState
from danqing.core.types import Artifact, Job, JobFailure
from danqing.store import batch_rows, loading, queries
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
DELETE_ARTIFACTS = delete(artifacts).where(artifacts.c.job_id == bindparam("of_job"))
STATE_IN_ATTEMPT = select(jobs.c.state).where(
    jobs.c.id == bindparam("of_job"),
    jobs.c.attempt_count == bindparam("of_attempt"),
    jobs.c.state.in_(state.value for state in queries.RUNNING),
)
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


def add(connection: Connection, job: Job, max_pending: int, batch_size: int, join_equal: bool) -> Change | None:
    """Stores a new pending job, gives it its sequence and enters it in its batch, unless max_pending jobs are pending.

    join_equal: an equal one of its owner (`queries.find_equal`) is found instead, if there is one.
    """
    if join_equal and (equal := queries.find_equal(connection, job.owner, job.fingerprint)) is not None:
        return Change(job=equal, before=equal.state)
    if queries.count_pending(connection) >= max_pending:
        return None
    return _insert(connection, job, batch_size)


def add_all(
    connection: Connection, jobs: Sequence[Job], max_pending: int, batch_sizes: Sequence[int]
) -> list[Change] | None:
    """As `add` for several new jobs; None, and nothing stored, where there is no room for all of them."""
    if queries.count_pending(connection) + len(jobs) > max_pending:
        return None
    return [_insert(connection, job, size) for job, size in zip(jobs, batch_sizes, strict=True)]


def _insert(connection: Connection, job: Job, batch_size: int) -> Change:
    sequence: int = connection.execute(INSERT_JOB, job_values(job)).scalar_one()
    job = replace(job, sequence=sequence)
    batch_rows.join(connection, job, batch_size)
    return Change(job=job, before=None)


def claim(connection: Connection, job_id: str, worker: str, now: datetime) -> Change | None:
    """pending → processing with a new attempt."""
    move = _from_to(job_id, JobState.PENDING, JobState.PROCESSING)
    number: int | None = connection.execute(CLAIM, {**move, "started_at": now}).scalar()
    if number is None:
        return None
    connection.execute(INSERT_ATTEMPT, {"job_id": job_id, "number": number, "worker": worker, "started_at": now})
    return _change(connection, job_id, JobState.PENDING)


def generate(
    connection: Connection, job_id: str, attempt: int, pictures: Sequence[Artifact], adjustments: Sequence[str]
) -> Change | None:
    """processing → generated; the attempt goes on. adjustments are added to those that the job has already."""
    move = _from_to(job_id, JobState.PROCESSING, JobState.GENERATED)
    values = _with_adjustments(connection, job_id, adjustments)
    if connection.execute(MOVE_OF_ATTEMPT, {**move, "of_attempt": attempt, **values}).rowcount != 1:
        return None
    _insert_artifacts(connection, job_id, pictures)
    return _change(connection, job_id, JobState.PROCESSING)


def complete(
    connection: Connection,
    job_id: str,
    attempt: int,
    pictures: Sequence[Artifact],
    adjustments: Sequence[str],
    now: datetime,
) -> Change | None:
    """processing or generated → completed. pictures and adjustments are added to those that the job has already."""
    values: Values = {"finished_at": now, **_with_adjustments(connection, job_id, adjustments)}
    before = _end_attempt(connection, job_id, attempt, JobState.COMPLETED, None, now, values)
    if before is None:
        return None
    _insert_artifacts(connection, job_id, pictures)
    return _change(connection, job_id, before)


def give_back(connection: Connection, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Change | None:
    """processing or generated → pending; a generated job has no artifacts any more."""
    before = _end_attempt(connection, job_id, attempt, JobState.PENDING, failure, now, {"started_at": None})
    if before is None:
        return None
    if before is JobState.GENERATED:
        connection.execute(DELETE_ARTIFACTS, {"of_job": job_id})
    return _change(connection, job_id, before)


def fail(connection: Connection, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Change | None:
    """processing or generated → failed; with attempt 0, pending → failed."""
    before = _fail(connection, job_id, attempt, failure, now)
    return None if before is None else _change(connection, job_id, before)


def fail_unreadable(connection: Connection, now: datetime) -> None:
    """pending, processing or generated → failed, for the jobs that this version cannot read; each is logged."""
    for row in queries.unreadable(connection):
        attempt = 0 if row["state"] == JobState.PENDING.value else row["attempt_count"]
        _fail(connection, row["id"], attempt, UNREADABLE, now)


def cancel(connection: Connection, job_id: str, now: datetime) -> Change | None:
    """pending or processing → cancelled; a running attempt is closed without a failure."""
    job = loading.find(connection, job_id)
    if job is None or job.state not in (JobState.PENDING, JobState.PROCESSING):
        return None
    values: Values = {"finished_at": now}
    if job.state is JobState.PROCESSING:
        before = _end_attempt(connection, job_id, len(job.attempts), JobState.CANCELLED, None, now, values)
    else:
        before = _end_wait(connection, job_id, JobState.CANCELLED, values)
    return None if before is None else _change(connection, job_id, before)


def _fail(connection: Connection, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> JobState | None:
    values: Values = {"finished_at": now, **failure_values(failure)}
    if attempt:
        return _end_attempt(connection, job_id, attempt, JobState.FAILED, failure, now, values)
    return _end_wait(connection, job_id, JobState.FAILED, values)


def _end_wait(connection: Connection, job_id: str, after: JobState, values: Values) -> JobState | None:
    """Moves a pending job and returns the state before; None for one that does not wait."""
    move = _from_to(job_id, JobState.PENDING, after)
    moved = connection.execute(MOVE, {**move, **values}).rowcount == 1
    return JobState.PENDING if moved else None


def _end_attempt(
    connection: Connection,
    job_id: str,
    attempt: int,
    after: JobState,
    failure: JobFailure | None,
    now: datetime,
    values: Values,
) -> JobState | None:
    """Moves a running job whose newest attempt is this one, and closes the attempt. Returns the state before; None for
    an outdated attempt.
    """
    which: Values = {"of_job": job_id, "of_attempt": attempt}
    state: str | None = connection.execute(STATE_IN_ATTEMPT, which).scalar()
    if state is None:
        return None
    before = JobState(state)
    if connection.execute(MOVE_OF_ATTEMPT, {**which, **_from_to(job_id, before, after), **values}).rowcount != 1:
        return None
    connection.execute(CLOSE_ATTEMPT, {**which, "ended_at": now, **failure_values(failure)})
    return before


def _insert_artifacts(connection: Connection, job_id: str, pictures: Sequence[Artifact]) -> None:
    if pictures:
        connection.execute(INSERT_ARTIFACTS, [artifact_values(job_id, picture) for picture in pictures])


def _with_adjustments(connection: Connection, job_id: str, adjustments: Sequence[str]) -> Values:
    """The adjustments column with these added to what is there; nothing to be set where there are none to add."""
    if not adjustments or (job := loading.find(connection, job_id)) is None:
        return {}
    return {"adjustments": adjustments_text(tuple(dict.fromkeys((*job.adjustments, *adjustments))))}


def _from_to(job_id: str, before: JobState, after: JobState) -> Values:
    return {"of_job": job_id, "from_state": before.value, "state": after.value}


def _change(connection: Connection, job_id: str, before: JobState) -> Change:
    job = loading.find(connection, job_id)
    if job is None:
        raise StorageFailure
    return Change(job=job, before=before)
