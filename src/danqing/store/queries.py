"""Reading: every SELECT of the store, as statements built once and functions over an open connection."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, RowMapping, bindparam, exists, func, or_, select

from danqing.core.errors import StorageFailure
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.store.rows import job_from
from danqing.store.schema import artifacts, attempts, jobs

log = structlog.get_logger(__name__)

UNFINISHED = (JobState.PENDING.value, JobState.PROCESSING.value)
WITH_ARTIFACTS = (JobState.GENERATED.value, JobState.COMPLETED.value)

JOB = select(jobs).where(jobs.c.id == bindparam("job_id"))
ATTEMPTS = select(attempts).where(attempts.c.job_id == bindparam("job_id")).order_by(attempts.c.number)
ARTIFACTS = select(artifacts).where(artifacts.c.job_id == bindparam("job_id")).order_by(artifacts.c.kind)
UNFINISHED_JOBS = select(jobs).where(jobs.c.state.in_(UNFINISHED)).order_by(jobs.c.priority.desc(), jobs.c.sequence)
UNFINISHED_ATTEMPTS = (
    select(attempts)
    .join(jobs, jobs.c.id == attempts.c.job_id)
    .where(jobs.c.state.in_(UNFINISHED))
    .order_by(attempts.c.number)
)
EQUAL_ID = (
    select(jobs.c.id)
    .where(
        jobs.c.owner == bindparam("owner"),
        jobs.c.fingerprint == bindparam("fingerprint"),
        or_(
            jobs.c.state.in_(UNFINISHED),
            jobs.c.state.in_(WITH_ARTIFACTS) & exists().where(artifacts.c.job_id == jobs.c.id),
        ),
    )
    .order_by(jobs.c.sequence.desc())
    .limit(1)
)
PENDING_COUNT = select(func.count()).where(jobs.c.state == JobState.PENDING.value)
COUNTS = select(jobs.c.state, func.count()).group_by(jobs.c.state)
WAITING_BEFORE = select(func.count()).where(
    jobs.c.state == JobState.PENDING.value,
    jobs.c.priority >= bindparam("priority"),
    or_(jobs.c.priority > bindparam("priority"), jobs.c.sequence < bindparam("sequence")),
)
WITHOUT_ARTIFACTS = select(jobs.c.id).where(jobs.c.state.not_in(WITH_ARTIFACTS), jobs.c.attempt_count > 0)


@dataclass(frozen=True)
class UnreadableJob:
    """What is known of a job whose row this version cannot read. attempt: the newest one's number, 0 without any."""

    id: str
    state: JobState
    attempt: int


def find(connection: Connection, job_id: str) -> Job | None:
    """The job of that id. Raises StorageFailure if this version cannot read it."""
    row = connection.execute(JOB, {"job_id": job_id}).mappings().first()
    if row is None:
        return None
    by_id = {"job_id": job_id}
    # A job without attempts, or not made yet, is spared the look into their tables.
    tries = connection.execute(ATTEMPTS, by_id).mappings().all() if row["attempt_count"] else ()
    pictures = connection.execute(ARTIFACTS, by_id).mappings().all() if row["state"] in WITH_ARTIFACTS else ()
    return job_from(row, tries, pictures)


def find_equal(connection: Connection, owner: str, fingerprint: str) -> Job | None:
    """The owner's newest job of this fingerprint that is under way, or completed with artifacts."""
    job_id = connection.execute(EQUAL_ID, {"owner": owner, "fingerprint": fingerprint}).scalar()
    return None if job_id is None else find(connection, job_id)


def unfinished(connection: Connection) -> Sequence[Job]:
    """Pending and processing jobs in the order of taking. Raises StorageFailure if one of them cannot be read."""
    return [job_from(row, tries, ()) for row, tries in _unfinished_rows(connection)]


def unreadable(connection: Connection) -> Sequence[UnreadableJob]:
    """Pending and processing jobs that this version cannot read; each is logged."""
    found: list[UnreadableJob] = []
    for row, tries in _unfinished_rows(connection):
        try:
            job_from(row, tries, ())
        except StorageFailure as exc:
            log.error("job_unreadable", job_id=row["id"], reason=type(exc.__cause__).__name__)
            found.append(UnreadableJob(row["id"], JobState(row["state"]), row["attempt_count"]))
    return found


def _unfinished_rows(connection: Connection) -> Iterator[tuple[RowMapping, Sequence[RowMapping]]]:
    """Rows of jobs in the order of taking, each with those of its attempts."""
    tries: defaultdict[str, list[RowMapping]] = defaultdict(list)
    for attempt in connection.execute(UNFINISHED_ATTEMPTS).mappings():
        tries[attempt["job_id"]].append(attempt)
    for row in connection.execute(UNFINISHED_JOBS).mappings().all():
        yield row, tries[row["id"]]


def count_pending(connection: Connection) -> int:
    """Number of pending jobs. Reads pending entries of one index only."""
    return connection.execute(PENDING_COUNT).scalar_one()


def count_states(connection: Connection) -> Mapping[JobState, int]:
    """Number of jobs in every state, zero included. Reads one index from end to end: for start-up only."""
    found = {JobState(state): number for state, number in connection.execute(COUNTS)}
    return {state: found.get(state, 0) for state in JobState}


def waiting_before(connection: Connection, priority: int, sequence: int) -> int:
    """How many pending jobs are taken before one of this priority and sequence. Reads pending entries only."""
    return connection.execute(WAITING_BEFORE, {"priority": priority, "sequence": sequence}).scalar_one()


def without_artifacts(connection: Connection) -> frozenset[str]:
    """The ids of the jobs that were attempted and have no artifacts."""
    return frozenset(connection.execute(WITHOUT_ARTIFACTS).scalars())
