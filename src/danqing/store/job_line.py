"""The JobLine over a PostgreSQL database: which of the waiting jobs goes next, found by a few entries of an index."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

import structlog
from sqlalchemy import Connection, Integer, RowMapping, Text, bindparam, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from danqing.core.batching import batch_key
from danqing.core.errors import StorageFailure
from danqing.core.shared_store import Waiting
from danqing.core.types import Job
from danqing.store import loading, queries
from danqing.store.database import Database
from danqing.store.rows import request_from
from danqing.store.schema import jobs

log = structlog.get_logger(__name__)

WINDOW = 32  # jobs at the head of a line that are looked at

_WAITS = jobs.c.state == literal_column("'pending'")  # as the index says it, see `queries.in_states`
_COLUMNS = (
    jobs.c.id,
    jobs.c.owner,
    jobs.c.priority,
    jobs.c.turn,
    jobs.c.sequence,
    jobs.c.attempt_count,
    jobs.c.request,
)
_IN_LINE = select(*_COLUMNS).where(_WAITS, jobs.c.model == bindparam("of_model"))
_MOST = bindparam("most", type_=Integer)
HEAD = _IN_LINE.order_by(jobs.c.priority.desc(), jobs.c.turn, jobs.c.sequence).limit(_MOST)
NAMED = _IN_LINE.where(jobs.c.id == bindparam("of_id"))
# The first job of each owner, found by one look into the index for each, however many jobs wait of those who are passed
# over; then the jobs of those owners whose first ones come first.
_HEAD_WITHOUT_SOME = """
    WITH RECURSIVE firsts (owner, priority, turn, sequence) AS (
        (
            SELECT owner, priority, turn, sequence FROM jobs
            WHERE state = 'pending' AND model = :of_model ORDER BY owner, priority DESC, turn, sequence LIMIT 1
        )
        UNION ALL
        SELECT further.* FROM firsts CROSS JOIN LATERAL (
            SELECT owner, priority, turn, sequence FROM jobs
            WHERE state = 'pending' AND model = :of_model AND jobs.owner > firsts.owner
            ORDER BY owner, priority DESC, turn, sequence LIMIT 1
        ) AS further
    ), owners AS (
        SELECT owner FROM firsts WHERE owner <> ALL (:passed_over)
        ORDER BY priority DESC, turn, sequence LIMIT :most
    )
    SELECT line.id, line.owner, line.priority, line.turn, line.sequence, line.attempt_count, line.request
    FROM owners CROSS JOIN LATERAL (
        SELECT * FROM jobs
        WHERE state = 'pending' AND model = :of_model AND jobs.owner = owners.owner
        ORDER BY priority DESC, turn, sequence LIMIT :most
    ) AS line
    ORDER BY priority DESC, turn, sequence LIMIT :most
"""
_PASSED_OVER = bindparam("passed_over", type_=ARRAY(Text))
HEAD_WITHOUT_SOME = (
    text(_HEAD_WITHOUT_SOME).columns(*_COLUMNS).bindparams(_PASSED_OVER, _MOST, bindparam("of_model", type_=Text))
)
RUNNING_OF_OWNERS = select(jobs.c.owner, func.count()).where(queries.in_states(*queries.RUNNING)).group_by(jobs.c.owner)
# Nothing is lost with it: the commit need not wait for the disk. Said here, it costs no statement of its own.
_LAZILY = func.set_config("synchronous_commit", "off", True)
IS_FREE = (
    select(jobs.c.id, _LAZILY)
    .where(_WAITS, jobs.c.id == bindparam("of_id"))
    .with_for_update(skip_locked=True, key_share=True)
)
WAITING = select(jobs.c.model, func.count(), func.min(jobs.c.created_at)).where(_WAITS).group_by(jobs.c.model)


class PostgresJobLine:
    """Implements `core.shared_store.JobLine`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def next(self, model: str, named: str, *, max_running_of_owner: int | None = None) -> str | None:
        """See the port; so for all below."""
        work = partial(_next, model=model, named=named, max_running=max_running_of_owner)
        return await self._database.write(work, durable=True)  # see _LAZILY

    async def alike(self, job: Job, most: int, *, max_running_of_owner: int | None = None) -> Sequence[str]:
        if most < 1:
            return []
        return await self._database.read(partial(_alike, job=job, most=most, max_running=max_running_of_owner))

    async def waiting(self) -> Mapping[str, Waiting]:
        return await self._database.read(_waiting)

    async def first(self, model: str, most: int) -> Sequence[Job]:
        return await self._database.read(partial(_first, model=model, most=most))


def _next(connection: Connection, model: str, named: str, max_running: int | None) -> str | None:
    running = _running(connection, max_running)
    passed_over = _full(running, max_running)
    head = _head(connection, model, WINDOW, passed_over)
    if not head:
        return None
    ours = next((row for row in head if row["id"] == named), None)
    if ours is None:
        ours = connection.execute(NAMED, {"of_model": model, "of_id": named}).mappings().first()
        if ours is not None and ours["owner"] in passed_over:
            ours = None
    candidates = head if ours is None else _by_right(head, ours)
    for row in candidates:
        if connection.execute(IS_FREE, {"of_id": row["id"]}).first() is not None:
            return row["id"]
    return candidates[0]["id"]  # all are just being taken: the claim tells


def _by_right(head: Sequence[RowMapping], named: RowMapping) -> list[RowMapping]:
    """The head of the line, and the named one, in the order in which they may go for this name."""
    ahead = [row for row in head if _place(row) < _place(named)]
    first = [row for row in ahead if row["owner"] != named["owner"] or row["priority"] > named["priority"]]
    own = [row for row in ahead if row["owner"] == named["owner"] and row["priority"] == named["priority"]]
    if len(ahead) == len(head) and own:  # so far back that there may be others between: rather one of those ahead
        start = named["sequence"] % len(own)  # not all who ask take the same one
        return [*first, *own[start:], *own[:start]]
    behind = [row for row in head if _place(row) > _place(named)]
    return [*first, named, *own, *behind]


def _place(row: RowMapping) -> tuple[int, int, int]:
    return -row["priority"], row["turn"], row["sequence"]


def _alike(connection: Connection, job: Job, most: int, max_running: int | None) -> list[str]:
    running = _running(connection, max_running)
    head = _head(connection, job.request.model, max(most, WINDOW), _full(running, max_running))
    key, found = batch_key(job.request), list[str]()
    for row in head:
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


def _first(connection: Connection, model: str, most: int) -> Sequence[Job]:
    return loading.readable(connection, [row["id"] for row in _head(connection, model, most, [])])


def _head(connection: Connection, model: str, most: int, passed_over: Sequence[str]) -> Sequence[RowMapping]:
    if not passed_over:
        return connection.execute(HEAD, {"of_model": model, "most": most}).mappings().all()
    values = {"of_model": model, "most": most, "passed_over": list(passed_over)}
    return connection.execute(HEAD_WITHOUT_SOME, values).mappings().all()


def _running(connection: Connection, max_running: int | None) -> Counter[str]:
    """By owner; not counted where it does not matter."""
    if max_running is None:
        return Counter()
    return Counter({owner: number for owner, number in connection.execute(RUNNING_OF_OWNERS)})


def _full(running: Counter[str], max_running: int | None) -> list[str]:
    return [] if max_running is None else [owner for owner, number in running.items() if number >= max_running]
