"""How many jobs wait before one, without counting them all each time.

Near the front they are counted. Further back the line is measured now and then: every fiftieth place in it is noted,
with how many are before. So beyond `COUNTED` jobs a figure is right within fifty, as of when it was measured; how often
that is done depends on how long it takes.
"""

import time
from bisect import bisect_right
from collections.abc import Sequence
from threading import Lock

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    ScalarSelect,
    bindparam,
    func,
    literal_column,
    select,
)

from danqing.core.fairness import order_of_taking
from danqing.core.types import Job
from danqing.store.schema import jobs

COUNTED = 1_000  # jobs: up to so many before one are counted
MILE = 50  # jobs from one noted place to the next
MEASURED_EVERY_S = 1.0
PART_OF_TIME = 20  # measuring, which takes longer the more jobs wait, takes a 20th of the time at most

_IS_PENDING = jobs.c.state == literal_column("'pending'")
_OF_ITS_PRIORITY = jobs.c.priority == bindparam("priority", type_=Integer)
_TURN = bindparam("turn", type_=BigInteger)


def _number(*conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    """Of pending jobs, COUNTED and one at most. Each is a stretch of one index: in its order, for otherwise PostgreSQL
    may believe that so few are found sooner by reading the table.
    """
    some = select(literal_column("1", Integer)).select_from(jobs).where(_IS_PENDING, *conditions)
    some = some.order_by(jobs.c.priority, jobs.c.turn, jobs.c.sequence)
    return (
        select(func.count())
        .select_from(some.limit(literal_column(str(COUNTED + 1), Integer)).subquery())
        .scalar_subquery()
    )


BEFORE = select(
    _number(jobs.c.priority > bindparam("priority", type_=Integer))
    + _number(_OF_ITS_PRIORITY, jobs.c.turn < _TURN)
    + _number(_OF_ITS_PRIORITY, jobs.c.turn == _TURN, jobs.c.sequence < bindparam("sequence", type_=BigInteger))
)
_PLACE = (jobs.c.priority.desc(), jobs.c.turn, jobs.c.sequence)
_LINE = (
    select(jobs.c.priority, jobs.c.turn, jobs.c.sequence, (func.row_number().over(order_by=_PLACE) - 1).label("before"))
    .where(_IS_PENDING)
    .subquery()
)
MEASURE = (
    select(_LINE)
    .where(_LINE.c.before % literal_column(str(MILE), Integer) == literal_column("0", Integer))
    .order_by(_LINE.c.before)
)

_Place = tuple[int, int, int]  # as `fairness.order_of_taking` says it


class Places:
    """Of one database. For use from any thread, over a connection in a transaction."""

    def __init__(self) -> None:
        self._measuring = Lock()
        self._miles: Sequence[_Place] | None = None
        self._due_at = 0.0

    def before(self, connection: Connection, job: Job) -> int:
        """How many pending jobs are taken before this one."""
        place = {"priority": job.priority, "turn": job.turn, "sequence": job.sequence}
        counted = int(connection.execute(BEFORE, place).scalar_one())
        if counted <= COUNTED:
            return counted
        return max(COUNTED + 1, _read_off(self._measured(connection), order_of_taking(job)))

    def _measured(self, connection: Connection) -> Sequence[_Place]:
        """While one measures, others use what was measured before; the first time, they wait for it."""
        miles = self._miles
        if miles is not None and (time.monotonic() < self._due_at or not self._measuring.acquire(blocking=False)):
            return miles
        if miles is None:
            self._measuring.acquire()
        try:
            if self._miles is None or time.monotonic() >= self._due_at:
                begun = time.monotonic()
                found = connection.execute(MEASURE)
                self._miles = [(-priority, turn, sequence) for priority, turn, sequence, _ in found]
                took_s = time.monotonic() - begun
                self._due_at = time.monotonic() + max(MEASURED_EVERY_S, PART_OF_TIME * took_s)
            return self._miles
        finally:
            self._measuring.release()


def _read_off(miles: Sequence[_Place], place: _Place) -> int:
    """How many are before a place; between two that are noted, by how far the turn has come from one to the other."""
    passed = bisect_right(miles, place) - 1
    if passed < 0:
        return 0
    (priority, turn, _), number = miles[passed], passed * MILE
    if passed + 1 == len(miles) or (place[0], miles[passed + 1][0]) != (priority, priority):
        return number
    return number + MILE * (place[1] - turn) // max(1, miles[passed + 1][1] - turn)
