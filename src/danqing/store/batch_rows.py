"""Batches in the database: which there are, which jobs they show, how a new job joins one. Over an open connection."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    RowMapping,
    and_,
    bindparam,
    case,
    delete,
    insert,
    select,
    update,
)

from danqing.core.batches import MAX_BATCH_JOBS, Batch
from danqing.core.types import Job
from danqing.store import history_counts, loading
from danqing.store.prepared import Prepared
from danqing.store.schema import batches, jobs

MAX_BATCHES_PER_QUERY = 500
MAX_OFFSET = 2**63 - 1  # a database can count no further
MAX_SEQUENCE = MAX_OFFSET
FAR = 1_000  # batches, which are passed over in an index as quickly as by their counts
IS_THIS = and_(batches.c.id == bindparam("of_id"), batches.c.owner == bindparam("of_owner"))
IS_SHOWN = and_(jobs.c.owner == batches.c.owner, jobs.c.batch_id == batches.c.id, jobs.c.sequence >= batches.c.sequence)

NEWEST = select(batches).order_by(batches.c.sequence.desc())
IS_OWNERS = batches.c.owner == bindparam("of_owner")
_SEQUENCES = select(batches.c.sequence).order_by(batches.c.sequence.desc())
# What is passed over is counted off within the index, without a look at any row.
PAGE = _SEQUENCES.limit(bindparam("page_limit", type_=Integer)).offset(bindparam("page_offset", type_=BigInteger))
OWNERS_PAGE = PAGE.where(IS_OWNERS)
_IS_BEFORE = batches.c.sequence < bindparam("before", type_=BigInteger)
PAGE_BEFORE, OWNERS_PAGE_BEFORE = PAGE.where(_IS_BEFORE), OWNERS_PAGE.where(_IS_BEFORE)
OF_SEQUENCES = NEWEST.where(batches.c.sequence.in_(bindparam("sequences", expanding=True)))
OF_ID = NEWEST.where(batches.c.id == bindparam("of_id")).limit(1)
OWNERS_OF_ID = NEWEST.where(IS_THIS)
WHO_HAS_ID = select(batches.c.owner).where(batches.c.id == bindparam("of_id"))
SHOWN_IDS = (
    select(batches.c.sequence, jobs.c.id)
    .join_from(batches, jobs, IS_SHOWN)
    .where(batches.c.sequence.in_(bindparam("sequences", expanding=True)))
    .order_by(jobs.c.batch_index, jobs.c.sequence)
)

JOB_COUNT = Prepared(select(batches.c.job_count).where(IS_THIS))
INSERT_BATCH = Prepared(insert(batches))
COUNT_WITH_NEW = batches.c.job_count + 1
ANNOUNCED = bindparam("announced", type_=Integer)
JOIN_BATCH = Prepared(
    update(batches)
    .where(IS_THIS)
    .values(
        job_count=COUNT_WITH_NEW,
        size=case(
            (and_(batches.c.size >= ANNOUNCED, batches.c.size >= COUNT_WITH_NEW), batches.c.size),
            (ANNOUNCED >= COUNT_WITH_NEW, ANNOUNCED),
            else_=COUNT_WITH_NEW,
        ),
    )
)
FORGET_BATCH = delete(batches).where(IS_THIS)


@dataclass(frozen=True, kw_only=True)
class Portion:
    """What is read at once of many batches: those that have MAX_BATCH_JOBS jobs together, and one at least.

    left: the sequences of those that are to be read next.
    """

    batches: Sequence[Batch]
    left: Sequence[int]


def page(connection: Connection, owner: str | None, limit: int, offset: int) -> Portion:
    """The beginning of a page of the batches of this owner or, with None, of all; newest first."""
    before: int | None = None
    if offset > FAR:
        before, offset = history_counts.nearer(connection, owner, offset)
    values: dict[str, object] = {"page_limit": limit, "page_offset": min(offset, MAX_OFFSET)}
    if owner is not None:
        values["of_owner"] = owner
    if before is None:
        found = connection.execute(PAGE if owner is None else OWNERS_PAGE, values)
    else:
        values["before"] = before
        found = connection.execute(PAGE_BEFORE if owner is None else OWNERS_PAGE_BEFORE, values)
    return of_sequences(connection, list(found.scalars()))


def of_sequences(connection: Connection, sequences: Sequence[int]) -> Portion:
    """The first of the batches of these sequences, newest first, that there are.

    A batch of which this version can read no job is left out.
    """
    chunk = sequences[:MAX_BATCHES_PER_QUERY]
    rows = connection.execute(OF_SEQUENCES, {"sequences": chunk}).mappings().all()
    taken, jobs_taken = 0, 0
    for row in rows:
        jobs_taken += row["job_count"]
        if taken and jobs_taken > MAX_BATCH_JOBS:
            break
        taken += 1
    left = [row["sequence"] for row in rows[taken:]]
    return Portion(batches=_whole(connection, rows[:taken]), left=[*left, *sequences[MAX_BATCHES_PER_QUERY:]])


def find(connection: Connection, batch_id: str, owner: str | None) -> Batch | None:
    """The newest batch of this id, of this owner or, with None, of all."""
    whole = _whole(connection, _rows_of_id(connection, batch_id, owner))
    return whole[0] if whole else None


def owners(connection: Connection, batch_id: str) -> list[str]:
    """Who has a batch of this id."""
    return list(connection.execute(WHO_HAS_ID, {"of_id": batch_id}).scalars())


def have_room(connection: Connection, new: Sequence[Job]) -> bool:
    """Whether the batches of one owner's new jobs can take them all. Exact, for his adds come one after the other."""
    joining = Counter(job.batch_id for job in new if job.batch_id != job.id)
    for batch_id, more in joining.items():
        there: int | None = JOB_COUNT.scalar(connection, {"of_id": batch_id, "of_owner": new[0].owner})
        if (there or 0) + more > MAX_BATCH_JOBS:
            return False
    return True


def join(connection: Connection, job: Job, announced_size: int) -> None:
    """Enters a new job, which has its sequence already, in its batch; begins the batch if there is none.

    The batch is as large as the largest size that was announced, and as the number of its jobs. Indexes say nothing of
    that: some clients count from 1.
    """
    of = {"of_id": job.batch_id, "of_owner": job.owner}
    is_its_own = job.batch_id == job.id  # then there is no such batch yet, for the id is new
    if not is_its_own and JOIN_BATCH.changed(connection, {**of, "announced": announced_size}):
        return
    INSERT_BATCH.changed(
        connection,
        {
            "id": job.batch_id,
            "owner": job.owner,
            "sequence": job.sequence,
            "created_at": job.created_at,
            "size": announced_size,
            "job_count": 1,
        },
    )


def forget(connection: Connection, batch_id: str, owner: str | None) -> bool:
    """Removes the batch that `find` finds; its jobs stay. False if there is none."""
    for row in _rows_of_id(connection, batch_id, owner):
        connection.execute(FORGET_BATCH, {"of_id": row["id"], "of_owner": row["owner"]})
        return True
    return False


def _rows_of_id(connection: Connection, batch_id: str, owner: str | None) -> Sequence[RowMapping]:
    """One row or none."""
    if owner is None:
        found = connection.execute(OF_ID, {"of_id": batch_id})
    else:
        found = connection.execute(OWNERS_OF_ID, {"of_id": batch_id, "of_owner": owner})
    return found.mappings().all()


def _whole(connection: Connection, rows: Sequence[RowMapping]) -> list[Batch]:
    """The batches of these rows, in their order, with the jobs that they show."""
    ids_of = _shown_ids(connection, [row["sequence"] for row in rows])
    shown = [job_id for ids in ids_of.values() for job_id in ids]
    jobs_by_id = {job.id: job for job in loading.readable(connection, shown)}
    whole: list[Batch] = []
    for row in rows:
        its_jobs = tuple(jobs_by_id[job_id] for job_id in ids_of[row["sequence"]] if job_id in jobs_by_id)
        if its_jobs:
            whole.append(
                Batch(id=row["id"], owner=row["owner"], created_at=row["created_at"], size=row["size"], jobs=its_jobs)
            )
    return whole


def _shown_ids(connection: Connection, sequences: Sequence[int]) -> defaultdict[int, list[str]]:
    """The ids of the jobs that the batches of these sequences show, in the order of showing."""
    ids_of: defaultdict[int, list[str]] = defaultdict(list)
    for start in range(0, len(sequences), MAX_BATCHES_PER_QUERY):
        chunk = sequences[start : start + MAX_BATCHES_PER_QUERY]
        for sequence, job_id in connection.execute(SHOWN_IDS, {"sequences": chunk}):
            ids_of[sequence].append(job_id)
    return ids_of
