"""Reading: which jobs there are in what state, and how many. Statements built once, functions over a connection."""

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
)

from danqing.core.states import JobState
from danqing.core.submitting import Join
from danqing.core.types import Job, age_of
from danqing.store import loading
from danqing.store.column_types import AnyText
from danqing.store.loading import JobRows
from danqing.store.prepared import Prepared
from danqing.store.rows import Row
from danqing.store.schema import artifacts, jobs

RUNNING = (JobState.PROCESSING, JobState.GENERATED)
WITH_FINGERPRINT_AT_MOST = 20
AFTER_HEX_DIGITS = "g"


def in_states(*states: JobState) -> ColumnElement[bool]:
    """Said in the statement, not sent beside it: so PostgreSQL knows, when it plans it once for all values, that few
    jobs are in them, and that an index is about them.
    """
    return jobs.c.state.in_([literal_column(f"'{state.value}'") for state in states])


UNFINISHED_IDS = (
    select(jobs.c.id)
    .where(in_states(JobState.PENDING, *RUNNING))
    .order_by(jobs.c.priority.desc(), jobs.c.turn, jobs.c.sequence)
)
HAS_ARTIFACTS = exists().where(artifacts.c.job_id == jobs.c.id)
LACKS_ARTIFACTS = HAS_ARTIFACTS.where(artifacts.c.missing)
IS_COMPLETED_AND_THERE = and_(jobs.c.state == JobState.COMPLETED.value, HAS_ARTIFACTS, ~LACKS_ARTIFACTS)
EQUAL = (
    select(jobs.c.id)
    .where(jobs.c.fingerprint == bindparam("fingerprint"), jobs.c.owner == bindparam("owner"))
    .order_by(jobs.c.sequence.desc())
    .limit(1)
)
_UNDER_WAY = in_states(JobState.PENDING, *RUNNING)
EQUAL_ID = Prepared(EQUAL.where(or_(_UNDER_WAY, IS_COMPLETED_AND_THERE)))
EQUAL_ID_UNDER_WAY = Prepared(EQUAL.where(_UNDER_WAY))
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
_OWNERS = jobs.c.owner == bindparam("owner")
_PENDING_COUNT = select(func.count()).where(jobs.c.state == JobState.PENDING.value)
PENDING_COUNT = Prepared(_PENDING_COUNT)
OWNERS_PENDING_COUNT = Prepared(_PENDING_COUNT.where(_OWNERS))
OWNERS_RUNNING_COUNT = Prepared(select(func.count()).where(in_states(*RUNNING), _OWNERS))
COUNTS = select(jobs.c.state, func.count()).group_by(jobs.c.state)
AGES = select(jobs.c.id, jobs.c.attempt_count, jobs.c.state).where(jobs.c.id.in_(bindparam("ids", expanding=True)))
KNOWN_IDS = select(jobs.c.id).where(jobs.c.id.in_(bindparam("ids", expanding=True)))
ARTIFACT_NAMES = select(artifacts.c.job_id, artifacts.c.name).where(
    artifacts.c.job_id.in_(bindparam("ids", expanding=True))
)
NOTED_MISSING = (
    select(artifacts.c.name, artifacts.c.missing)
    .where(artifacts.c.name > bindparam("after", type_=AnyText))
    .order_by(artifacts.c.name)
    .limit(bindparam("rows", type_=Integer))
)
NOTED_MISSING_BEFORE = NOTED_MISSING.where(artifacts.c.name < bindparam("before", type_=AnyText))


def find_equal(connection: Connection, owner: str, fingerprint: str, join: Join = Join.ALSO_DONE) -> Job | None:
    """The owner's newest job of this fingerprint that is under way or, if such may be joined, completed with
    artifacts, none of which is missing.

    None at once where nothing is to be joined.
    """
    if join is Join.NONE:
        return None
    statement = EQUAL_ID if join is Join.ALSO_DONE else EQUAL_ID_UNDER_WAY
    job_id = statement.scalar(connection, {"owner": owner, "fingerprint": fingerprint})
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


def unreadable(connection: Connection) -> Sequence[Row]:
    """The rows of pending and running jobs that this version cannot read; each is logged."""
    return [rows.row for rows in _unfinished_rows(connection) if rows.job_or_none() is None]


def _unfinished_rows(connection: Connection) -> Iterator[JobRows]:
    return loading.rows_of(connection, connection.execute(UNFINISHED_IDS).scalars().all())


def count_pending(connection: Connection) -> int:
    """Number of pending jobs. Reads pending entries of one index only."""
    return PENDING_COUNT.scalar(connection, {})


def count_pending_of(connection: Connection, owner: str) -> int:
    """Number of an owner's pending jobs. Reads their entries of one index only."""
    return OWNERS_PENDING_COUNT.scalar(connection, {"owner": owner})


def count_running_of(connection: Connection, owner: str) -> int:
    """Number of an owner's processing and generated jobs. Reads their entries of one index only."""
    return OWNERS_RUNNING_COUNT.scalar(connection, {"owner": owner})


def count_states(connection: Connection) -> Mapping[JobState, int]:
    """Number of jobs in every state, zero included. Reads one index from end to end: for start-up only."""
    found = {JobState(state): number for state, number in connection.execute(COUNTS)}
    return {state: found.get(state, 0) for state in JobState}


def ages(connection: Connection, job_ids: Sequence[str]) -> Mapping[str, tuple[int, int]]:
    """`Job.age` of those of these jobs that there are."""
    found: dict[str, tuple[int, int]] = {}
    for start in range(0, len(job_ids), loading.MAX_IDS_PER_QUERY):
        chunk = {"ids": job_ids[start : start + loading.MAX_IDS_PER_QUERY]}
        for job_id, attempts, state in connection.execute(AGES, chunk):
            found[job_id] = age_of(attempts, JobState(state))
    return found


def artifact_names(connection: Connection, job_ids: Sequence[str]) -> Mapping[str, frozenset[str]]:
    """The names of the artifacts of those of these jobs that there are."""
    names: dict[str, set[str]] = {}
    for start in range(0, len(job_ids), loading.MAX_IDS_PER_QUERY):
        chunk = {"ids": job_ids[start : start + loading.MAX_IDS_PER_QUERY]}
        names |= {job_id: set[str]() for job_id in connection.execute(KNOWN_IDS, chunk).scalars()}
        for job_id, name in connection.execute(ARTIFACT_NAMES, chunk):
            names[job_id].add(name)
    return {job_id: frozenset(found) for job_id, found in names.items()}


def noted_missing(connection: Connection, after: str, before: str | None, limit: int) -> Mapping[str, bool]:
    """The names of artifacts between these two, in order, with whether their pictures are noted as missing."""
    values = {"after": after, "rows": limit}
    if before is None:
        found = connection.execute(NOTED_MISSING, values)
    else:
        found = connection.execute(NOTED_MISSING_BEFORE, {**values, "before": before})
    return {name: missing for name, missing in found}
