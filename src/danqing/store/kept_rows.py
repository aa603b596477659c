"""What is kept of jobs that have ended, in the database: how much it is, and how it is removed. Over a connection."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import structlog
from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    RowMapping,
    Select,
    Tuple,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    tuple_,
    update,
)

from danqing.core.states import JobState
from danqing.core.types import Job, Mode
from danqing.store import loading
from danqing.store.column_types import UtcDateTime
from danqing.store.queries import in_states
from danqing.store.schema import artifacts, batches, jobs

log = structlog.get_logger(__name__)

Place = tuple[int, int]  # priority and turn; several jobs may have one

ROWS_AT_ONCE = 500
SUMMED_AT_ONCE = 5_000  # jobs
INPUT_NAME = re.compile(r"input-[0-9a-f]{64}\.png")
# Others have no artifacts. In this order a job that moves on while they are summed counts twice rather than not at all.
MADE = (JobState.GENERATED, JobState.COMPLETED, JobState.FAILED)
FINAL = tuple(state.value for state in JobState if state.is_final)


def _bound(name: str) -> Tuple:
    return tuple_(
        bindparam(f"{name}_priority", type_=Integer),
        bindparam(f"{name}_turn", type_=BigInteger),
    )


NEXT = jobs.c.sequence > bindparam("after", type_=BigInteger)
OLDEST = (
    select(jobs.c.sequence, jobs.c.id, jobs.c.state, jobs.c.created_at, jobs.c.finished_at)
    .where(NEXT)
    .order_by(jobs.c.sequence)
    .limit(ROWS_AT_ONCE)
)
NEWEST = (
    select(jobs.c.sequence, jobs.c.owner, jobs.c.created_at)
    .where(jobs.c.sequence < bindparam("before", type_=BigInteger))
    .order_by(jobs.c.sequence.desc())
    .limit(ROWS_AT_ONCE)
)
SOME = select(jobs.c.sequence).where(NEXT).order_by(jobs.c.sequence).limit(bindparam("rows", type_=Integer))
LAST_OF_SOME = select(func.max(SOME.subquery().c.sequence))
WITH_INPUTS = select(jobs.c.id, jobs.c.request).where(
    NEXT, jobs.c.sequence <= bindparam("last", type_=BigInteger), jobs.c.mode != Mode.TEXT2IMG.value
)
# All states there are: indexes by owner begin with the state.
OF_OWNER = and_(in_states(*JobState), jobs.c.owner == bindparam("of_owner"))
OWNERS_SOME = SOME.where(OF_OWNER, jobs.c.mode != Mode.TEXT2IMG.value)
LAST_OF_OWNERS_SOME = select(func.max(OWNERS_SOME.subquery().c.sequence))
BYTES = select(func.coalesce(func.sum(artifacts.c.size_bytes), 0))
_PLACE = tuple_(jobs.c.priority, jobs.c.turn)
_AFTER_PLACE = _bound("after") < _PLACE
_UP_TO_PLACE = _bound("last") >= _PLACE
# Of one state each, as the indexes by owner begin with that, and in their order.
_OF_STATE = {state: and_(in_states(state), jobs.c.owner == bindparam("of_owner"), _AFTER_PLACE) for state in MADE}
OWNERS_PLACE = {
    state: select(jobs.c.priority, jobs.c.turn)
    .where(of_state)
    .order_by(jobs.c.priority, jobs.c.turn)
    .limit(literal_column("1", Integer))
    .offset(bindparam("skipped", type_=Integer))
    for state, of_state in _OF_STATE.items()
}
# A look for each job, and never one at all artifacts, however few PostgreSQL believes that there are.
_BYTES_OF_JOB = select(func.sum(artifacts.c.size_bytes)).where(artifacts.c.job_id == jobs.c.id).scalar_subquery()
OWNERS_REST = {
    state: select(func.coalesce(func.sum(_BYTES_OF_JOB), 0)).where(of_state) for state, of_state in _OF_STATE.items()
}
OWNERS_BYTES = {state: rest.where(_UP_TO_PLACE) for state, rest in OWNERS_REST.items()}
BEGIN_REMOVAL = update(artifacts).where(artifacts.c.job_id == bindparam("of_job")).values(missing=True)
REMOVE = (
    delete(jobs)
    .where(jobs.c.id.in_(bindparam("ids", expanding=True)), jobs.c.state.in_(FINAL))
    .returning(jobs.c.sequence, jobs.c.owner, jobs.c.batch_id, jobs.c.state)
)
# The batch that shows the job, if there is one: one that was begun again under its id does not.
SHOWS_IT = and_(
    batches.c.id == bindparam("of_batch"),
    batches.c.owner == bindparam("of_owner"),
    batches.c.sequence <= bindparam("of_sequence", type_=BigInteger),
)
LEAVE_BATCH = update(batches).where(SHOWS_IT).values(job_count=batches.c.job_count - 1, size=batches.c.size - 1)
END_BATCH = delete(batches).where(SHOWS_IT, batches.c.job_count <= 0)
MOST_SEQUENCE = 2**63 - 1
NOW = select(func.clock_timestamp(type_=UtcDateTime))
FIRST_PLACE: Place = (-(2**31), -(2**63))


def postgres_now(connection: Connection) -> datetime:
    """By PostgreSQL's clock."""
    return connection.execute(NOW).scalar_one()


def accepted_since(connection: Connection, moment: datetime) -> list[tuple[str, datetime]]:
    """Owner and time of each job accepted later, oldest first. Reads from the newest back: for start-up only."""
    found: list[tuple[str, datetime]] = []
    before = MOST_SEQUENCE
    while rows := connection.execute(NEWEST, {"before": before}).mappings().all():
        later = [row for row in rows if row["created_at"] > moment]
        found += [(row["owner"], row["created_at"]) for row in later]
        before = rows[-1]["sequence"]
        if len(later) < len(rows):
            break
    return found[::-1]


def ended_before(connection: Connection, moment: datetime, now: datetime, after: int, limit: int) -> Sequence[Job]:
    """Jobs that ended earlier, by sequence. Reads no further than jobs go that were accepted earlier, but past those
    that were accepted later than now: the clock was ahead then.

    One that this version cannot read is left out; it is logged.
    """
    found: list[Job] = []
    ended = _ended_before(connection, moment, now, after)
    while len(found) < limit and (ids := list(islice(ended, limit - len(found)))):
        found += loading.readable(connection, ids)
    return found


def _ended_before(connection: Connection, moment: datetime, now: datetime, after: int) -> Iterator[str]:
    for row in _walk(connection, OLDEST, {"after": after}):
        if moment <= row["created_at"] <= now:
            break
        if row["state"] in FINAL and row["finished_at"] is not None and row["finished_at"] < moment:
            yield row["id"]


def artifact_bytes(connection: Connection) -> int:
    """Of all artifacts."""
    return int(connection.execute(BYTES).scalar_one())


def owners_artifact_bytes(
    connection: Connection, owner: str, state: JobState, after: Place
) -> tuple[int, Place | None]:
    """Of those of some of an owner's jobs in this state, one of MADE, next after this place; and after which one to go
    on, None at the end.
    """
    values: dict[str, object] = {"of_owner": owner, **_place("after", after)}
    last = connection.execute(OWNERS_PLACE[state], {**values, "skipped": SUMMED_AT_ONCE - 1}).first()
    if last is None:
        return int(connection.execute(OWNERS_REST[state], values).scalar_one()), None
    place: Place = (last[0], last[1])
    some = connection.execute(OWNERS_BYTES[state], {**values, **_place("last", place)})
    return int(some.scalar_one()), place


def _place(name: str, place: Place) -> dict[str, int]:
    return dict(zip((f"{name}_priority", f"{name}_turn"), place, strict=True))


def input_names(connection: Connection, owner: str | None, after: int) -> tuple[set[str], int | None]:
    """The pictures that jobs start from, of some jobs next after this sequence; and after which one to go on, None at
    the end. owner: only this owner's; None: everybody's.
    """
    whose: dict[str, object] = {} if owner is None else {"of_owner": owner}
    of_some = LAST_OF_SOME if owner is None else LAST_OF_OWNERS_SOME
    last = connection.execute(of_some, {"after": after, "rows": ROWS_AT_ONCE, **whose}).scalar_one()
    if last is None:
        return set(), None
    statement = WITH_INPUTS if owner is None else WITH_INPUTS.where(OF_OWNER)
    names: set[str] = set()
    for row in connection.execute(statement, {"after": after, "last": last, **whose}).mappings():
        try:
            names |= _names_in(json.loads(row["request"]))
        except (ValueError, TypeError, KeyError, AttributeError):
            log.error("job_unreadable", job_id=row["id"], reason="its pictures are guessed")
            names |= set(INPUT_NAME.findall(str(row["request"])))
    return names, last


def begin_removal(connection: Connection, job_ids: Sequence[str]) -> None:
    """Notes their artifacts as missing."""
    if job_ids:
        connection.execute(BEGIN_REMOVAL, [{"of_job": job_id} for job_id in job_ids])


def remove(connection: Connection, job_ids: Sequence[str]) -> Counter[JobState]:
    """Those that have ended, with all that hangs on them; their batches have so many fewer. Returns how they ended."""
    removed = Counter[JobState]()
    for start in range(0, len(job_ids), ROWS_AT_ONCE):
        chunk = list(job_ids[start : start + ROWS_AT_ONCE])
        gone = sorted(connection.execute(REMOVE, {"ids": chunk}).mappings().all(), key=lambda row: row["sequence"])
        if gone:
            left = [
                {"of_batch": row["batch_id"], "of_owner": row["owner"], "of_sequence": row["sequence"]} for row in gone
            ]
            connection.execute(LEAVE_BATCH, left)
            connection.execute(END_BATCH, left)
        removed.update(JobState(row["state"]) for row in gone)
    return removed


def _walk(
    connection: Connection,
    statement: Select[*tuple[Any, ...]],  # of rows of any kind, with a sequence, in its order
    values: Mapping[str, object],
) -> Iterator[RowMapping]:
    while rows := connection.execute(statement, values).mappings().all():
        yield from rows
        values = {**values, "after": rows[-1]["sequence"]}


def _names_in(request: dict[str, Any]) -> set[str]:  # Any: JSON values
    images = [*(request.get("input_images") or ()), request.get("mask"), request.get("control_image")]
    return {image["name"] for image in images if image}
