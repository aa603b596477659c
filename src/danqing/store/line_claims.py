"""Choosing and claiming the next job in one transaction on PostgreSQL: of many who do so at once each gets another.

A row that somebody else is just claiming is passed over (SKIP LOCKED), not waited for. So who asks again after a lost
commit would pass over what he has claimed himself: claims of one worker come one after the other. Order of locks: the
worker, a job's row, then its owner; `moves.claim` keeps to it, too.
"""

from datetime import datetime
from enum import Enum

from sqlalchemy import (
    CTE,
    BigInteger,
    Connection,
    Integer,
    RowMapping,
    Select,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    update,
)

from danqing.core.errors import StorageFailure
from danqing.core.states import JobState
from danqing.core.types import Job
from danqing.store import loading, moves, queries
from danqing.store.advisory_locks import key_of
from danqing.store.column_types import AnyText, UtcDateTime
from danqing.store.line_rows import (
    HEAD_WITHOUT_SOME,
    IS_FOR_US,
    IS_PENDING,
    OF_MODEL,
    PLACE,
)
from danqing.store.loading import JobRows
from danqing.store.many_writers import ENTER
from danqing.store.schema import attempts, jobs
from danqing.store.unread_jobs import UnreadJobs

WINDOW = 32  # jobs at the head of a line that are looked at where owners have limits


class Lost(Enum):
    """Nothing was claimed, and something may wait all the same: somebody else was quicker. Look again."""

    LOST = "lost"


_ONE = literal_column("1", Integer)  # said in the statement: so PostgreSQL knows, when it plans it, that it is not many
_NOW = bindparam("now", type_=UtcDateTime)
_WORKER = bindparam("of_worker", type_=AnyText)


def _claiming(chosen: CTE) -> Select[*tuple[object, ...]]:
    """Claims the job whose sequence was chosen, with a new attempt, and gives its row."""
    moved = (
        update(jobs)
        .where(jobs.c.sequence == chosen.c.sequence)
        .values(
            state=literal_column(f"'{JobState.PROCESSING.value}'"),
            attempt_count=jobs.c.attempt_count + 1,
            started_at=_NOW,
        )
        .returning(*jobs.c)
        .cte("moved")
    )
    tried = insert(attempts).from_select(
        ["job_id", "number", "worker", "started_at"], select(moved.c.id, moved.c.attempt_count, _WORKER, _NOW)
    )
    return select(moved).add_cte(tried.cte("tried"))


_IN_LINE = select(jobs.c.sequence).where(IS_PENDING, OF_MODEL, IS_FOR_US).order_by(*PLACE)
CLAIM_FIRST = _claiming(_IN_LINE.limit(_ONE).with_for_update(skip_locked=True, key_share=True).cte("chosen"))

# Where owners have limits: the first whose owner may have more is kept; then the owner is, and what he has is counted.
_MOST = bindparam("max_running", type_=Integer)
FULL_OWNERS = (
    select(jobs.c.owner).where(queries.in_states(*queries.RUNNING)).group_by(jobs.c.owner).having(func.count() >= _MOST)
)
_WINDOW = _IN_LINE.limit(literal_column(str(WINDOW), Integer)).cte("head")
_KEEP = select(jobs.c.sequence, jobs.c.owner).where(IS_PENDING).order_by(*PLACE).limit(_ONE)
KEEP_FIRST = (
    _KEEP.join_from(_WINDOW, jobs, jobs.c.sequence == _WINDOW.c.sequence)
    .where(jobs.c.owner.not_in(FULL_OWNERS))
    .with_for_update(skip_locked=True, key_share=True, of=jobs)
)
KEEP_ONE_OF = _KEEP.where(jobs.c.id.in_(bindparam("ids", expanding=True)), IS_FOR_US).with_for_update(
    skip_locked=True, key_share=True, of=jobs
)
_HAS = select(func.count()).where(queries.in_states(*queries.RUNNING), jobs.c.owner == bindparam("of_owner"))
CLAIM_KEPT = _claiming(
    select(bindparam("kept", type_=BigInteger).label("sequence")).where(_HAS.scalar_subquery() < _MOST).cte("chosen")
)

_NEWEST = (attempts.c.job_id == jobs.c.id) & (attempts.c.number == jobs.c.attempt_count)
CLAIMED_AT = (
    select(jobs.c.id)
    .join_from(jobs, attempts, _NEWEST)
    .where(queries.in_states(JobState.PROCESSING), attempts.c.worker == _WORKER, attempts.c.started_at == _NOW)
)
WAITING_STILL = select(jobs.c.id).where(IS_PENDING, jobs.c.id.in_(bindparam("ids", expanding=True)))


def claim_next(
    connection: Connection, model: str, worker: str, now: datetime, max_running: int | None, unread: UnreadJobs
) -> Job | Lost | None:
    """The first job of this model, claimed. None: there is none for this process.

    max_running: of an owner's jobs, this one included. unread: those that this version cannot read; grows.
    """
    _enter(connection, worker)
    values: dict[str, object] = {"of_model": model, "of_worker": worker, "now": now, "unread": unread.of(model)}
    if max_running is None:
        row = connection.execute(CLAIM_FIRST, values).mappings().first()
    else:
        kept = _keep(connection, values, max_running)
        if kept is None:
            row = None
        else:
            connection.execute(ENTER, {"key": key_of("running", kept["owner"])})
            limit = {"kept": kept["sequence"], "of_owner": kept["owner"], "max_running": max_running}
            row = connection.execute(CLAIM_KEPT, {**values, **limit}).mappings().first()
            if row is None:  # others claimed for him since it was counted
                return Lost.LOST
    if row is None:
        _forget_what_waits_no_more(connection, model, unread)
        return None
    return _read(connection, row, unread)


def claimed(connection: Connection, worker: str, at: datetime) -> Job | None:
    """The processing job whose newest attempt is this worker's, of this moment. Waits for what he is just claiming."""
    _enter(connection, worker)
    job_id: str | None = connection.execute(CLAIMED_AT, {"of_worker": worker, "now": at}).scalar()
    return None if job_id is None else next(iter(loading.readable(connection, [job_id])), None)


def _enter(connection: Connection, worker: str) -> None:
    connection.execute(ENTER, {"key": key_of("claim", worker)})


def _keep(connection: Connection, values: dict[str, object], max_running: int) -> RowMapping | None:
    limit = {"max_running": max_running}
    kept = connection.execute(KEEP_FIRST, {**values, **limit}).mappings().first()
    if kept is not None:
        return kept
    # Nothing waits, or all in front are of owners who have enough, or are just being claimed.
    full = list(connection.execute(FULL_OWNERS, limit).scalars())
    behind = {**values, "most": WINDOW, "passed_over": full}
    ids = [row["id"] for row in connection.execute(HEAD_WITHOUT_SOME, behind).mappings()]
    if not ids:
        return None
    return connection.execute(KEEP_ONE_OF, {"ids": ids, "unread": values["unread"]}).mappings().first()


def _read(connection: Connection, row: RowMapping, unread: UnreadJobs) -> Job | Lost:
    """A job that this version cannot read waits again as it did, for those who can."""
    tried = connection.execute(loading.ATTEMPTS, {"ids": [row["id"]]}).mappings().all()
    try:
        return JobRows(row, tried, []).job()
    except StorageFailure:
        moves.unclaim(connection, row["id"], row["attempt_count"])
        if not unread.note(row["id"], row["model"]):
            _forget_what_waits_no_more(connection, row["model"], unread)
            if not unread.note(row["id"], row["model"]):
                unread.rest(row["model"])
        return Lost.LOST


def _forget_what_waits_no_more(connection: Connection, model: str, unread: UnreadJobs) -> None:
    if met := unread.of(model):
        unread.keep(model, set(connection.execute(WAITING_STILL, {"ids": met}).scalars()))
