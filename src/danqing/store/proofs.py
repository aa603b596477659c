"""Whether a write was done already, for who lost the connection as it was committed. Over an open connection.

What PostgreSQL says of a transaction's number is no proof: after a crash numbers are given again. What it wrote is.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from danqing.core.states import JobState
from danqing.core.submitting import Join
from danqing.core.types import Job, JobFailure
from danqing.store import loading, queries
from danqing.store.moves import Change


def added(connection: Connection, jobs: Sequence[Job], join: Join) -> list[Change] | None:
    """These new jobs, whose ids nobody else has; of those that were not stored, the ones that they joined."""
    stored = {job.id: job for job in loading.readable(connection, [job.id for job in jobs])}
    if not stored:
        return None
    changes: list[Change] = []
    for job in jobs:
        if job.id in stored:
            changes.append(Change(job=stored[job.id], before=None))
        elif (joined := queries.find_equal(connection, job.owner, job.fingerprint, join)) is not None:
            changes.append(Change(job=joined, before=joined.state))
    return changes if len(changes) == len(jobs) else None


def moved_up(connection: Connection, job_id: str, priority: int) -> Change | None:
    """To this priority, by whomever, and it waits."""
    return _change(
        connection,
        job_id,
        JobState.PENDING,
        lambda job: job.state is JobState.PENDING and job.priority == priority,
    )


def claimed(connection: Connection, job_id: str, worker: str, now: datetime) -> Change | None:
    """By this worker at this moment, and it still is."""

    def is_so(job: Job) -> bool:
        newest = job.attempts[-1] if job.attempts else None
        is_ours = newest is not None and (newest.worker, newest.started_at) == (worker, now)
        return is_ours and job.state in queries.RUNNING

    return _change(connection, job_id, JobState.PENDING, is_so)


def generated(connection: Connection, job_id: str, attempt: int) -> Change | None:
    """In this attempt."""

    def is_so(job: Job) -> bool:
        return job.state is JobState.GENERATED and len(job.attempts) == attempt

    return _change(connection, job_id, JobState.PROCESSING, is_so)


def ended(connection: Connection, job_id: str, state: JobState, now: datetime) -> Change | None:
    """In this state at this moment."""
    return _change(connection, job_id, JobState.PROCESSING, lambda job: (job.state, job.finished_at) == (state, now))


def given_back(connection: Connection, job_id: str, attempt: int, failure: JobFailure, now: datetime) -> Change | None:
    """From this attempt at this moment, whatever has become of it since."""

    def is_so(job: Job) -> bool:
        closed = job.attempts[attempt - 1] if 0 < attempt <= len(job.attempts) else None
        is_it = closed is not None and (closed.ended_at, closed.failure) == (now, failure)
        return is_it and (job.state is JobState.PENDING or len(job.attempts) > attempt)

    return _change(connection, job_id, JobState.PROCESSING, is_so)


def _change(connection: Connection, job_id: str, before: JobState, is_so: Callable[[Job], bool]) -> Change | None:
    jobs = loading.readable(connection, [job_id])
    return Change(job=jobs[0], before=before) if jobs and is_so(jobs[0]) else None
