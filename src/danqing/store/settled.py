"""Up to which sequence all jobs are there: no transaction under way may still bring one before it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from danqing.store.database import Database
from danqing.store.schema import jobs

SURE_AFTER_S = 120.0  # more than a call may take from its first statement to its commit (`Patience.call_s`)

NEWEST = select(func.max(jobs.c.sequence))
# Numbers of transactions: of the oldest that is under way, and of the next that will begin to write.
UNDER_WAY = text(
    "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint),"
    " CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"
)


class SettledAlone:
    """Where one transaction after the other writes: what can be read is all there is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self) -> int:
        """The sequence after the newest."""
        return await self._database.read(_end)


@dataclass(frozen=True)
class _Mark:
    """end: of all that could be read. next_writer: whoever had begun to write then has a lower number."""

    end: int
    next_writer: int
    at: float


class SettledAmongMany:
    """Where others write at the same time, and a job may be there before one of a lower sequence is: what could be read
    some time ago, after which all who wrote then have ended.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._end = 0
        self._mark: _Mark | None = None

    async def __call__(self) -> int:
        """The sequence after the newest that is sure to have no gap before it; 0 until enough time has passed."""
        end, oldest_writer, next_writer = await self._database.read(_end_and_writers)
        mark, now = self._mark, self._clock()
        if mark is None or end < mark.end or end < self._end:  # less than there was: it is another server's state
            self._end, self._mark = 0, _Mark(end, next_writer, now)
        elif now - mark.at >= SURE_AFTER_S and oldest_writer >= mark.next_writer:
            self._end = mark.end
            self._mark = _Mark(end, next_writer, now)
        return self._end


def _end(connection: Connection) -> int:
    newest: int | None = connection.execute(NEWEST).scalar()
    return (newest or 0) + 1


def _end_and_writers(connection: Connection) -> tuple[int, int, int]:
    end = _end(connection)
    oldest_writer, next_writer = connection.execute(UNDER_WAY).one()
    return end, oldest_writer, next_writer
