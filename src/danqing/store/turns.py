"""The turn of a new job (`core.fairness.turn_of`), worked out by the statement that stores it."""

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, func, literal_column, select, union_all

from danqing.core.states import JobState
from danqing.store.schema import jobs


def _turns(state: JobState) -> Select[tuple[int]]:
    """Of the jobs in this state at the new job's priority."""
    return select(jobs.c.turn).where(
        jobs.c.state == literal_column(f"'{state.value}'"), jobs.c.priority == bindparam("of_priority")
    )


def _largest(turns: Select[tuple[int]]) -> ColumnElement[int]:
    """The last within the index, 0 if there is none."""
    return func.coalesce(turns.order_by(jobs.c.turn.desc()).limit(1).scalar_subquery(), 0)


_WORK = bindparam("of_work", type_=BigInteger)
_OWN = jobs.c.owner == bindparam("of_owner")
_IN_SERVICE = _largest(_turns(JobState.PROCESSING))
_LEAST_PENDING = _turns(JobState.PENDING).order_by(jobs.c.turn).limit(1).scalar_subquery()
_NOW = func.coalesce(func.min(_IN_SERVICE, _LEAST_PENDING), _IN_SERVICE)  # `min` of two, one of them NULL, is NULL
_CANDIDATES = union_all(
    select((_largest(_turns(JobState.PENDING).where(_OWN)) + _WORK).label("turn")),
    select(_largest(_turns(JobState.PROCESSING).where(_OWN)) + _WORK),
    select(_NOW + _WORK),
    select(func.coalesce(_LEAST_PENDING, 0)),
).subquery()

# Its values are `of_owner`, `of_priority` and `of_work`: those of the new job.
TURN = select(func.max(_CANDIDATES.c.turn)).scalar_subquery()
