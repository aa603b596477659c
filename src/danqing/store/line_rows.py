"""The statements by which PostgreSQL finds jobs in line: a few entries of an index, however many wait."""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, Integer, RowMapping, bindparam, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from danqing.store import queries
from danqing.store.column_types import AnyText
from danqing.store.schema import jobs

IS_PENDING = jobs.c.state == literal_column("'pending'")  # as the index says it, see `queries.in_states`
OF_MODEL = jobs.c.model == bindparam("of_model")
PLACE = (jobs.c.priority.desc(), jobs.c.turn, jobs.c.sequence)
# Those that only a newer version can read are left to its nodes.
_UNREAD = bindparam("unread", type_=ARRAY(AnyText))
IS_FOR_US = jobs.c.id != func.all(_UNREAD)
PASSED_OVER = bindparam("passed_over", type_=ARRAY(AnyText))

_COLUMNS = (
    jobs.c.id,
    jobs.c.owner,
    jobs.c.priority,
    jobs.c.turn,
    jobs.c.sequence,
    jobs.c.attempt_count,
    jobs.c.request,
)
_MOST = bindparam("most", type_=Integer)
HEAD = select(*_COLUMNS).where(IS_PENDING, OF_MODEL, IS_FOR_US).order_by(*PLACE).limit(_MOST)
# The first job of each owner, found by one look into the index for each, however many jobs wait of those who are passed
# over; then the jobs of those owners whose first ones come first.
_HEAD_WITHOUT_SOME = """
    WITH RECURSIVE firsts (owner, priority, turn, sequence) AS (
        (
            SELECT owner, priority, turn, sequence FROM jobs
            WHERE state = 'pending' AND model = :of_model AND id <> ALL (:unread)
            ORDER BY owner, priority DESC, turn, sequence LIMIT 1
        )
        UNION ALL
        SELECT further.* FROM firsts CROSS JOIN LATERAL (
            SELECT owner, priority, turn, sequence FROM jobs
            WHERE state = 'pending' AND model = :of_model AND id <> ALL (:unread) AND jobs.owner > firsts.owner
            ORDER BY owner, priority DESC, turn, sequence LIMIT 1
        ) AS further
    ), owners AS (
        SELECT owner FROM firsts WHERE owner <> ALL (:passed_over)
        ORDER BY priority DESC, turn, sequence LIMIT :most
    )
    SELECT line.id, line.owner, line.priority, line.turn, line.sequence, line.attempt_count, line.request
    FROM owners CROSS JOIN LATERAL (
        SELECT * FROM jobs
        WHERE state = 'pending' AND model = :of_model AND id <> ALL (:unread) AND jobs.owner = owners.owner
        ORDER BY priority DESC, turn, sequence LIMIT :most
    ) AS line
    ORDER BY priority DESC, turn, sequence LIMIT :most
"""
HEAD_WITHOUT_SOME = (
    text(_HEAD_WITHOUT_SOME)
    .columns(*_COLUMNS)
    .bindparams(PASSED_OVER, _UNREAD, _MOST, bindparam("of_model", type_=AnyText))
)
RUNNING_OF_OWNERS = select(jobs.c.owner, func.count()).where(queries.in_states(*queries.RUNNING)).group_by(jobs.c.owner)
WAITING = select(jobs.c.model, func.count(), func.min(jobs.c.created_at)).where(IS_PENDING).group_by(jobs.c.model)


def head(
    connection: Connection, model: str, most: int, *, unread: Sequence[str], passed_over: Sequence[str] = ()
) -> Sequence[RowMapping]:
    """The first jobs in line, at most so many, these unread ones and those of these owners left out."""
    values: dict[str, object] = {"of_model": model, "most": most, "unread": unread}
    found = connection.execute(HEAD, values).mappings().all()
    if not passed_over:
        return found
    fitting = [row for row in found if row["owner"] not in passed_over]
    if len(fitting) == len(found) or len(found) < most:
        return fitting
    return connection.execute(HEAD_WITHOUT_SOME, {**values, "passed_over": list(passed_over)}).mappings().all()


def running_of_owners(connection: Connection, max_running: int | None) -> Counter[str]:
    """How many run, by owner; not counted where it does not matter."""
    if max_running is None:
        return Counter()
    return Counter({owner: number for owner, number in connection.execute(RUNNING_OF_OWNERS)})


def full_owners(running: Counter[str], max_running: int | None) -> list[str]:
    """Those who have as many running as they may."""
    return [] if max_running is None else [owner for owner, number in running.items() if number >= max_running]
