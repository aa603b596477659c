"""The turn of a new job (`core.fairness.turn_of`), worked out by the statement that stores it; and how it changes."""

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, func, literal_column, select, union_all
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from danqing.core.fairness import ATTEMPTS_OF_A_SUSPECT
from danqing.core.states import JobState
from danqing.store.schema import jobs


class _OfTwo(FunctionElement[int]):
    """The smaller or larger of two whole numbers."""

    type = BigInteger()


class _Least(_OfTwo):
    """If one of them is NULL: the other one on PostgreSQL, NULL on SQLite."""

    name = "least"
    inherit_cache = True


class _Greatest(_OfTwo):
    name = "greatest"
    inherit_cache = True


@compiles(_Least)
@compiles(_Greatest)
def _as_postgresql_calls_it(element: _OfTwo, compiler: SQLCompiler, **options: object) -> str:
    return f"{element.name}({compiler.process(element.clauses, **options)})"


@compiles(_Least, "sqlite")
@compiles(_Greatest, "sqlite")
def _as_sqlite_calls_it(element: _OfTwo, compiler: SQLCompiler, **options: object) -> str:
    name = "min" if element.name == "least" else "max"
    return f"{name}({compiler.process(element.clauses, **options)})"


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
_NOW = func.coalesce(_Least(_IN_SERVICE, _LEAST_PENDING), _IN_SERVICE)
_IS_NO_SUSPECT = jobs.c.attempt_count < literal_column(str(ATTEMPTS_OF_A_SUSPECT))
_CANDIDATES = union_all(
    select((_largest(_turns(JobState.PENDING).where(_OWN, _IS_NO_SUSPECT)) + _WORK).label("turn")),
    select(_largest(_turns(JobState.PROCESSING).where(_OWN, _IS_NO_SUSPECT)) + _WORK),
    select(_NOW + _WORK),
    select(func.coalesce(_LEAST_PENDING, 0)),
).subquery()

# Its values are `of_owner`, `of_priority` and `of_work`: those of the new job.
TURN = select(func.max(_CANDIDATES.c.turn)).scalar_subquery()

_OTHERS = jobs.alias("others")
_LAST_IN_LINE = (
    select(_OTHERS.c.turn)
    .where(
        _OTHERS.c.state == literal_column(f"'{JobState.PENDING.value}'"),
        _OTHERS.c.priority == jobs.c.priority,
        _OTHERS.c.id != jobs.c.id,
    )
    .order_by(_OTHERS.c.turn.desc())
    .limit(1)
    .correlate(jobs)
    .scalar_subquery()
)
# Of a job that lets those go first that wait at its priority, whatever their model.
BEHIND_OTHERS = _Greatest(jobs.c.turn, func.coalesce(_LAST_IN_LINE + 1, 0))
