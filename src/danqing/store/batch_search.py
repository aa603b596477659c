"""Searching batches by what the jobs are that they show: the newest jobs one by one, older ones by the index of the
history. Over an open connection.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import BigInteger, ColumnElement, Connection, Integer, Select, bindparam, func, literal_column, select

from danqing.core.batches import BatchFilter, folded
from danqing.core.states import JobState
from danqing.store import history_parts
from danqing.store.batch_rows import IS_SHOWN
from danqing.store.history_parts import Part
from danqing.store.schema import batches, jobs
from danqing.store.search_terms import terms_wanted

SLICE = 1_000  # jobs that are looked at where there is no index; others read in between
LEAST_LOOKED_AT, MOST_LOOKED_AT = 64, 500  # of the index
PARTS_AT_ONCE = (1, 4, 27)  # most often the newest has what is wanted

_HOPELESS = (JobState.FAILED.value, JobState.CANCELLED.value)
_FOLDED_PROMPT = func.lower(jobs.c.prompt)  # of ASCII letters alone: so is the column ordered in every database
_IS_OWNERS = jobs.c.owner == bindparam("of_owner")
_IS_OLDER = jobs.c.sequence < bindparam("before", type_=BigInteger)
_IS_NOT_BELOW = jobs.c.sequence >= bindparam("end", type_=BigInteger)
END_OF_SLICE = (
    select(jobs.c.sequence)
    .where(_IS_OLDER, _IS_NOT_BELOW)
    .order_by(jobs.c.sequence.desc())
    .limit(literal_column("1", Integer))
    .offset(literal_column(str(SLICE - 1), Integer))
)
IN_SLICE = (
    select(jobs.c.sequence)
    .where(_IS_OLDER, _IS_NOT_BELOW)
    .order_by(jobs.c.sequence.desc())
    .limit(bindparam("most", type_=Integer))
)
_IS_AMONG = jobs.c.sequence.in_(bindparam("sequences", expanding=True))
AMONG = select(jobs.c.sequence).where(_IS_AMONG)
SHOWING = select(batches.c.sequence).join_from(jobs, batches, IS_SHOWN).where(_IS_AMONG)


@dataclass(frozen=True, kw_only=True)
class Found:
    """batches: their sequences, in no order. before: all jobs were looked at from this sequence on; None for all."""

    batches: frozenset[int]
    before: int | None


def search(connection: Connection, owner: str | None, wanted: BatchFilter, before: int, most: int) -> Found:
    """The batches that show a wanted one of the next jobs before this sequence, about `most` of them or fewer."""
    terms = terms_wanted(owner, wanted)
    parts = history_parts.older(connection, before, sum(PARTS_AT_ONCE)) if terms else []
    if parts and parts[0].end >= before:
        return _indexed(connection, owner, wanted, before, most, parts, terms)
    return _one_by_one(connection, owner, wanted, before, most, end=parts[0].end if parts else 0)


def fitting(statement: Select[int], owner: str | None, wanted: BatchFilter) -> Select[int]:
    """Of the jobs that the statement finds those that are wanted."""
    conditions: list[ColumnElement[bool]] = [_IS_OWNERS] if owner is not None else []
    conditions += [_FOLDED_PROMPT.contains(folded(word), autoescape=True) for word in wanted.words]
    if wanted.model is not None:
        conditions.append(jobs.c.model == wanted.model)
    if wanted.mode is not None:
        conditions.append(jobs.c.mode == wanted.mode.value)
    if wanted.promising:
        conditions.append(jobs.c.state.not_in(_HOPELESS))
    return statement.where(*conditions)


def _one_by_one(
    connection: Connection, owner: str | None, wanted: BatchFilter, before: int, most: int, *, end: int
) -> Found:
    stretch = {"before": before, "end": end}
    sliced: int | None = connection.execute(END_OF_SLICE, stretch).scalar()
    stretch["end"] = end if sliced is None else sliced
    values = {**stretch, "most": min(most, SLICE), **_whose(owner)}
    found = connection.execute(fitting(IN_SLICE, owner, wanted), values).scalars().all()
    reached = found[-1] if len(found) >= most else stretch["end"]
    return Found(batches=_showing(connection, found), before=reached or None)


def _indexed(
    connection: Connection,
    owner: str | None,
    wanted: BatchFilter,
    before: int,
    most: int,
    parts: Sequence[Part],
    terms: Sequence[int],
) -> Found:
    may_fit = (
        sequence
        for lot in _lots(parts)
        for sequence in history_parts.jobs_with(connection, lot, terms)
        if sequence < before
    )
    looked_at = list(islice(may_fit, max(LEAST_LOOKED_AT, min(4 * most, MOST_LOOKED_AT))))
    reached = parts[-1].first if next(may_fit, None) is None else looked_at[-1]
    if not looked_at:
        return Found(batches=frozenset(), before=reached)
    values = {"sequences": looked_at, **_whose(owner)}
    found = connection.execute(fitting(AMONG, owner, wanted), values).scalars().all()
    return Found(batches=_showing(connection, found), before=reached)


def _showing(connection: Connection, found: Sequence[int]) -> frozenset[int]:
    """The batches of these jobs, as far as they are shown."""
    return frozenset(connection.execute(SHOWING, {"sequences": found}).scalars()) if found else frozenset()


def _lots(parts: Iterable[Part]) -> Iterator[Sequence[Part]]:
    rest = iter(parts)
    for most in PARTS_AT_ONCE:
        if lot := list(islice(rest, most)):
            yield lot


def _whose(owner: str | None) -> dict[str, object]:
    return {} if owner is None else {"of_owner": owner}
