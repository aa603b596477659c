"""Reading: which jobs there are in what state, and how many. Statements built once, functions over a connection."""

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection, RowMapping, bindparam, exists, func, or_, select

from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.store import loading
from danqing.store.loading import JobRows
from danqing.store.schema import artifacts, jobs

RUNNING = (JobState.PROCESSING, JobState.GENERATED)
UNFINISHED = tuple(state.value for state in (JobState.PENDING, *RUNNING))
# A job in one of these may have left pictures that no row tells of.
MAY_LEAVE_PICTURES = tuple(
    state.value for state in (JobState.PENDING, JobState.PROCESSING, JobState.FAILED, JobState.CANCELLED)
)
WITH_FINGERPRINT_AT_MOST = 20
AFTER_HEX_DIGITS = "g"

UNFINISHED_IDS = select(jobs.c.id).where(jobs.c.state.in_(UNFINISHED)).order_by(jobs.c.priority.desc(), jobs.c.sequence)
HAS_ARTIFACTS = exists().where(artifacts.c.job_id == jobs.c.id)
EQUAL_ID = (
    select(jobs.c.id)
    .where(
        jobs.c.fingerprint == bindparam("fingerprint"),
        jobs.c.owner == bindparam("owner"),
        or_(jobs.c.state.in_(UNFINISHED), (jobs.c.state == JobState.COMPLETED.value) & HAS_ARTIFACTS),
    )
    .order_by(jobs.c.sequence.desc())
    .limit(1)
)
# Ordered and cut within the index, before any job is looked at: there may be many.
WITH_FINGERPRINT = (
    select(jobs.c.sequence)
    .where(jobs.c.fingerprint >= bindparam("first"), jobs.c.fingerprint < bindparam("after"))
    .order_by(jobs.c.sequence.desc())
    .limit(WITH_FINGERPRINT_AT_MOST)
)
IDS = select(jobs.c.id).order_by(jobs.c.sequence.desc())
IDS_WITH_FINGERPRINT = IDS.where(jobs.c.sequence.in_(WITH_FINGERPRINT))
OWNERS_IDS_WITH_FINGERPRINT = IDS.where(jobs.c.sequence.in_(WITH_FINGERPRINT.where(jobs.c.owner == bindparam("owner"))))
PENDING_COUNT = select(func.count()).where(jobs.c.state == JobState.PENDING.value)
COUNTS = select(jobs.c.state, func.count()).group_by(jobs.c.state)
WAITING_BEFORE = select(func.count()).where(
    jobs.c.state == JobState.PENDING.value,
    jobs.c.priority >= bindparam("priority"),
    or_(jobs.c.priority > bindparam("priority"), jobs.c.sequence < bindparam("sequence")),
)
WITHOUT_ARTIFACTS = select(jobs.c.id).where(
    jobs.c.state.in_(MAY_LEAVE_PICTURES), jobs.c.attempt_count > 0, ~HAS_ARTIFACTS
)


def find_equal(connection: Connection, owner: str, fingerprint: str) -> Job | None:
    """The owner's newest job of this fingerprint that is under way, or completed with artifacts."""
    job_id = connection.execute(EQUAL_ID, {"owner": owner, "fingerprint": fingerprint}).scalar()
    return None if job_id is None else loading.find(connection, job_id)


def with_fingerprint(connection: Connection, prefix: str, owner: str | None) -> Sequence[Job]:
    """Jobs whose fingerprint begins so, newest first, of one owner or all; at most WITH_FINGERPRINT_AT_MOST."""
    bounds = {"first": prefix, "after": prefix + AFTER_HEX_DIGITS}
    if owner is None:
        ids = connection.execute(IDS_WITH_FINGERPRINT, bounds)
    else:
        ids = connection.execute(OWNERS_IDS_WITH_FINGERPRINT, {**bounds, "owner": owner})
    return loading.readable(connection, ids.scalars().all())


def unfinished(connection: Connection) -> Sequence[Job]:
    """Pending and running jobs in the order of taking. Raises StorageFailure if one of them cannot be read."""
    return [rows.job() for rows in _unfinished_rows(connection)]


def unreadable(connection: Connection) -> Sequence[RowMapping]:
    """The rows of pending and running jobs that this version cannot read; each is logged."""
    return [rows.row for rows in _unfinished_rows(connection) if rows.job_or_none() is None]


def _unfinished_rows(connection: Connection) -> Iterator[JobRows]:
    return loading.rows_of(connection, connection.execute(UNFINISHED_IDS).scalars().all())


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
    """The ids of the jobs that were attempted and have no artifacts, and are not made either."""
    return frozenset(connection.execute(WITHOUT_ARTIFACTS).scalars())
