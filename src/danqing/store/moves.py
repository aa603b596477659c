"""Writing: a new job and its moves from state to state, each a compare-and-set over a connection in a transaction.

A move returns None, and has changed nothing, where the job is not in the state that it starts from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum

import structlog
from sqlalchemy import Connection, Integer, bindparam, delete, insert, literal_column, select, update

from danqing.core.errors import StorageFailure
from danqing.core.fairness import ATTEMPTS_OF_A_SUSPECT, work_of
from danqing.core.states import JobState
from danqing.core.submitting import Join, SubmitKey
from danqing.core.types import Artifact, Job, JobFailure
from danqing.store import batch_rows, loading, queries, submit_keys
from danqing.store.bookkeeping import Bookkeeping
from danqing.store.prepared import Prepared
from danqing.store.rows import Values, adjustments_text, artifact_values, failure_values, job_values
from danqing.store.schema import artifacts, attempts, jobs
from danqing.store.turns import BEHIND_OTHERS, TURN

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a write did: the job after it, and its state before (None: it is new; the same state: it was found)."""

    job: Job
    before: JobState | None


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Under which new jobs are stored. max_pending: in all; max_of_owner: of theirs, None for as many as there is room.

    join: which equal jobs are found instead. key: by which the submit is known again.
    """

    max_pending: int
    max_of_owner: int | None = None
    join: Join = Join.NONE
    key: SubmitKey | None = None


class Refusal(Enum):
    """Why new jobs were not stored. As a result it is false: nothing was done."""

    QUEUE_FULL = "queue full"
    OWNER_FULL = "owner full"
    BATCH_FULL = "batch full"
    KEY_REUSED = "key reused"

    def __bool__(self) -> bool:
        return False


INSERT_JOB = Prepared(insert(jobs).values(turn=TURN).returning(jobs.c.sequence, jobs.c.turn))
INSERT_ATTEMPT = Prepared(insert(attempts))
INSERT_ARTIFACT = Prepared(insert(artifacts))
DELETE_ARTIFACTS = delete(artifacts).where(artifacts.c.job_id == bindparam("of_job"))
NOTE_MISSING = update(artifacts).where(artifacts.c.name == bindparam("of_name"))
# Where other processes write, too, the row that is looked at is nobody else's until the transaction ends.
_STATE = (
    select(jobs.c.state, jobs.c.attempt_count).where(jobs.c.id == bindparam("of_job")).with_for_update(key_share=True)
)
STATE = Prepared(_STATE)
STATE_IN_ATTEMPT = Prepared(
    _STATE.where(jobs.c.attempt_count == bindparam("of_attempt"), queries.in_states(*queries.RUNNING))
)
OWNER = select(jobs.c.owner).where(jobs.c.id == bindparam("of_job")).with_for_update(key_share=True)
# What an UPDATE sets is named by the parameters it is executed with.
_MOVE = update(jobs).where(jobs.c.id == bindparam("of_job"), jobs.c.state == bindparam("from_state"))
MOVE = Prepared(_MOVE)
MOVE_OF_ATTEMPT = Prepared(_MOVE.where(jobs.c.attempt_count == bindparam("of_attempt")))
CLAIM = Prepared(_MOVE.values(attempt_count=jobs.c.attempt_count + 1).returning(jobs.c.attempt_count))
CLOSE_ATTEMPT = Prepared(
    update(attempts).where(attempts.c.job_id == bindparam("of_job"), attempts.c.number == bindparam("of_attempt"))
)
TURN_AT = Prepared(select(TURN.label("turn")))
MOVE_UP = Prepared(
    _MOVE.where(
        jobs.c.priority < bindparam("to_priority", type_=Integer),
        jobs.c.attempt_count < literal_column(str(ATTEMPTS_OF_A_SUSPECT)),
    )
)
UNCLAIM = (
    update(jobs)
    .where(jobs.c.id == bindparam("of_job"))
    .values(state=JobState.PENDING.value, attempt_count=jobs.c.attempt_count - 1, started_at=None)
)
REMOVE_ATTEMPT = delete(attempts).where(
    attempts.c.job_id == bindparam("of_job"), attempts.c.number == bindparam("of_attempt")
)
LET_OTHERS_GO_FIRST = update(jobs).where(jobs.c.id == bindparam("of_job")).values(turn=BEHIND_OTHERS)
UNREADABLE = JobFailure(
    code=StorageFailure.code, message="The stored request cannot be read by this version of the server."
)


def add(
    connection: Connection, books: Bookkeeping, jobs: Sequence[Job], batch_sizes: Sequence[int], terms: Terms
) -> list[Change] | Refusal:
    """Stores new pending jobs of one owner, gives them their place in the order and enters each in its batch.

    What is joined, or known by the key, is found instead. A refusal has stored nothing. jobs: at least one.
    """
    books.enter(connection, jobs[0].owner)
    owner, now = jobs[0].owner, jobs[0].created_at
    if terms.key is not None and (known := submit_keys.find(connection, owner, terms.key, now)) is not None:
        return [_found(job) for job in known] if not isinstance(known, bool) else Refusal.KEY_REUSED
    equal = [queries.find_equal(connection, owner, job.fingerprint, terms.join) for job in jobs]
    new = equal.count(None)
    joined = len(jobs) - new  # they are in batches of their own
    if terms.max_of_owner is not None and queries.count_pending_of(connection, owner) + new > terms.max_of_owner:
        return Refusal.OWNER_FULL
    if not batch_rows.have_room(connection, [job for job, there in zip(jobs, equal, strict=True) if there is None]):
        return Refusal.BATCH_FULL
    if not books.take_room(connection, new, terms.max_pending):
        return Refusal.QUEUE_FULL
    changes = [
        _insert(connection, job, size - joined) if there is None else _found(there)
        for job, size, there in zip(jobs, batch_sizes, equal, strict=True)
    ]
    if terms.key is not None:
        submit_keys.note(connection, owner, terms.key, [change.job.id for change in changes], now)
    return changes


def _found(job: Job) -> Change:
    return Change(job=job, before=job.state)


def _insert(connection: Connection, job: Job, batch_size: int) -> Change:
    of = {"of_owner": job.owner, "of_priority": job.priority, "of_work": work_of(job.request)}
    placed: tuple[int, int] | None = INSERT_JOB.first(connection, {**job_values(job), **of})
    if placed is None:  # an INSERT that raises nothing has inserted
        raise StorageFailure
    job = replace(job, sequence=placed[0], turn=placed[1], created_at=job.created_at.astimezone(UTC))
    batch_rows.join(connection, job, batch_size)
    return Change(job=job, before=None)


def move_up(connection: Connection, books: Bookkeeping, job: Job, priority: int) -> Change | None:
    """pending → pending at a higher priority, with a turn as a new job there. job: its request and owner count.

    One that may be what kills its workers stays where it is.
    """
    books.enter(connection, job.owner)
    at = {"of_owner": job.owner, "of_priority": priority, "of_work": work_of(job.request)}
    place = {"priority": priority, "turn": TURN_AT.scalar(connection, at), "to_priority": priority}
    move = _from_to(job.id, JobState.PENDING, JobState.PENDING)
    return _change(connection, job.id, JobState.PENDING) if MOVE_UP.changed(connection, {**move, **place}) else None


def claim(
    connection: Connection, books: Bookkeeping, job_id: str, worker: str, now: datetime, max_running: int | None
) -> Change | None:
    """pending → processing with a new attempt. max_running: of its owner's jobs, this one included."""
    if max_running is not None and not _may_run(connection, books, job_id, max_running):
        return None
    move = _from_to(job_id, JobState.PENDING, JobState.PROCESSING)
    number: int | None = CLAIM.scalar(connection, {**move, "started_at": now})
    if number is None:
        return None
    INSERT_ATTEMPT.changed(connection, {"job_id": job_id, "number": number, "worker": worker, "started_at": now})
    job = loading.find_readable(connection, job_id)
    if job is None:
        if books.is_shared:  # a worker of a version that can read it may claim it
            unclaim(connection, job_id, number)
        else:  # nobody ever would
            fail_unread(connection, job_id, number, now)
        return None
    return Change(job=job, before=JobState.PENDING)


def unclaim(connection: Connection, job_id: str, attempt: int) -> None:
    """A claim of this transaction never was: the job waits as it did."""
    connection.execute(REMOVE_ATTEMPT, {"of_job": job_id, "of_attempt": attempt})
    connection.execute(UNCLAIM, {"of_job": job_id})


def _may_run(connection: Connection, books: Bookkeeping, job_id: str, max_running: int) -> bool:
    owner: str | None = connection.execute(OWNER, {"of_job": job_id}).scalar()
    if owner is None:
        return False
    books.enter_running(connection, owner)
    return queries.count_running_of(connection, owner) < max_running


def generate(
    connection: Connection, job_id: str, attempt: int, pictures: Sequence[Artifact], adjustments: Sequence[str]
) -> Change | None:
    """processing → generated; the attempt goes on. adjustments are added to those that the job has already."""
    move = _from_to(job_id, JobState.PROCESSING, JobState.GENERATED)
    which = {"of_job": job_id, "of_attempt": attempt}
    if STATE_IN_ATTEMPT.scalar(connection, which) != JobState.PROCESSING.value:
        return None
    values = _with_adjustments(connection, job_id, adjustments)
    if MOVE_OF_ATTEMPT.changed(connection, {**which, **move, **values}) != 1:
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
    """processing or generated → pending; a generated job has no artifacts any more.

    A job that was tried so often that it may be what kills its workers gets a turn behind those that wait.
    """
    before = _end_attempt(connection, job_id, attempt, JobState.PENDING, failure, now, {"started_at": None})
    if before is None:
        return None
    if attempt >= ATTEMPTS_OF_A_SUSPECT:
        connection.execute(LET_OTHERS_GO_FIRST, {"of_job": job_id})
    if before is JobState.GENERATED:
        connection.execute(DELETE_ARTIFACTS, {"of_job": job_id})
    return _change(connection, job_id, before)


def fail(connection: Connection, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Change | None:
    """processing or generated → failed; with attempt 0, pending → failed."""
    before = _fail(connection, job_id, attempt, failure, now)
    return None if before is None else _change(connection, job_id, before)


def note_missing(connection: Connection, missing: Mapping[str, bool]) -> None:
    """Notes of artifacts of these names whether their pictures are missing."""
    if missing:
        values = [{"of_name": name, "missing": is_missing} for name, is_missing in sorted(missing.items())]
        connection.execute(NOTE_MISSING, values)


def fail_unreadable(connection: Connection, now: datetime) -> None:
    """pending, processing or generated → failed, for the jobs that this version cannot read; each is logged."""
    for row in queries.unreadable(connection):
        attempt = 0 if row["state"] == JobState.PENDING.value else row["attempt_count"]
        fail_unread(connection, row["id"], attempt, now)


def fail_unread(connection: Connection, job_id: str, attempt: int, now: datetime) -> None:
    """A job that this version cannot read has failed: in this attempt or, with attempt 0, as it waits."""
    log.error("job_failed_unread", job_id=job_id, attempt=attempt)
    _fail(connection, job_id, attempt, UNREADABLE, now)


def cancel(connection: Connection, job_id: str, now: datetime) -> Change | None:
    """pending or processing → cancelled; a running attempt is closed without a failure."""
    found: tuple[str, int] | None = STATE.first(connection, {"of_job": job_id})
    values: Values = {"finished_at": now}
    if found is not None and found[0] == JobState.PROCESSING.value:
        before = _end_attempt(connection, job_id, found[1], JobState.CANCELLED, None, now, values)
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
    return JobState.PENDING if MOVE.changed(connection, {**move, **values}) == 1 else None


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
    state: str | None = STATE_IN_ATTEMPT.scalar(connection, which)
    if state is None:
        return None
    before = JobState(state)
    if MOVE_OF_ATTEMPT.changed(connection, {**which, **_from_to(job_id, before, after), **values}) != 1:
        return None
    CLOSE_ATTEMPT.changed(connection, {**which, "ended_at": now, **failure_values(failure)})
    return before


def _insert_artifacts(connection: Connection, job_id: str, pictures: Sequence[Artifact]) -> None:
    for picture in pictures:
        INSERT_ARTIFACT.changed(connection, artifact_values(job_id, picture))


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
