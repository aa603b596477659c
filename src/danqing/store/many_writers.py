"""The Bookkeeping where many processes write to one PostgreSQL database: locks of the database, and counting in it."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from sqlalchemy import BigInteger, Connection, RootTransaction, Select, bindparam, func, select, text

from danqing.core.errors import StorageFailure
from danqing.core.states import JobState
from danqing.store import queries
from danqing.store.advisory_locks import ALL_OWNERS, key_of
from danqing.store.database import Database
from danqing.store.remembered import Remembered
from danqing.store.schema import jobs

log = structlog.get_logger(__name__)

FULL_SOON = 1024  # jobs: nearer than this to the limit, they are counted exactly, and whoever adds waits his turn
COUNT_COUNTS_S = 0.25  # how long a number of pending jobs is good enough where there is plenty of room
ENDED_COUNT_S = 2.0  # and that of ended ones
PART_OF_TIME = 20  # counting ended jobs, which takes longer the more there are, takes a 20th of the time at most

ENTER = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger)))
UNFINISHED = tuple(state for state in JobState if not state.is_final)
ENDED = tuple(state for state in JobState if state.is_final)
_COUNT = select(jobs.c.state, func.count()).group_by(jobs.c.state)
COUNT_UNFINISHED = _COUNT.where(queries.in_states(*UNFINISHED))
COUNT_ENDED = _COUNT.where(queries.in_states(*ENDED))
# What ANALYZE found of the states, which a look at the catalogue tells however many rows there are.
BELIEVED = text(
    "SELECT seen.state, CAST(rows.reltuples * seen.part AS bigint) FROM pg_class AS rows JOIN pg_stats AS stats"
    " ON stats.tablename = rows.relname AND stats.schemaname = CAST(CAST(rows.relnamespace AS regnamespace) AS text)"
    " CROSS JOIN LATERAL unnest(CAST(CAST(stats.most_common_vals AS text) AS text[]), stats.most_common_freqs)"
    " AS seen (state, part) WHERE rows.oid = CAST('jobs' AS regclass) AND stats.attname = 'state'"
)


@dataclass(frozen=True)
class _Pending:
    """How many there were, and what this process has added since."""

    jobs: int
    counted_at: float


class ManyWriters:
    """Implements `bookkeeping.Bookkeeping`.

    Adding is exact for each owner: his adds, from whatever process, come one after the other. The number of all pending
    jobs is exact near its limit; far from it, where owners do not wait for each other, it may be a quarter of a second
    old. Of jobs that have ended, those that other processes ended are counted a few seconds later; while they cannot be
    counted, as they were before, or as PostgreSQL's planner believes.
    """

    claims_last = True
    is_shared = True

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._pending: _Pending | None = None
        self._ended: Counter[JobState] | None = None
        self._count_ended_at = 0.0
        self._entered = WeakKeyDictionary[RootTransaction, str]()
        self._unfinished = Remembered(
            lambda: database.read(lambda connection: _counts(connection, COUNT_UNFINISHED)),
            jobs_in=lambda counts: counts.total(),
        )

    def enter(self, connection: Connection, owner: str) -> None:
        """See `Bookkeeping`; so for all below."""
        transaction = connection.get_transaction()
        if transaction is None or self._entered.get(transaction) != owner:  # adds of one owner share a transaction
            connection.execute(ENTER, {"key": key_of("owner", owner)})
            if transaction is not None:
                self._entered[transaction] = owner

    def enter_running(self, connection: Connection, owner: str) -> None:
        connection.execute(ENTER, {"key": key_of("running", owner)})

    def take_room(self, connection: Connection, jobs: int, max_pending: int) -> bool:
        if self._take_far_from_full(jobs, max_pending):
            return True
        self._counted(queries.count_pending(connection))
        if self._take_far_from_full(jobs, max_pending):
            return True
        connection.execute(ENTER, {"key": key_of(*ALL_OWNERS)})
        return queries.count_pending(connection) + jobs <= max_pending

    def may_wait_again(self) -> None:
        pass  # it is counted, soon enough

    def room_committed(self) -> None:
        pass  # nothing of it is remembered

    def moved(self, before: JobState | None, after: JobState) -> None:
        if after.is_final and before is not after:
            with self._lock:
                if self._ended is not None:
                    self._ended[after] += 1

    def removed(self, ended: Mapping[JobState, int]) -> None:
        with self._lock:
            if self._ended is not None:
                self._ended.subtract(ended)

    async def counts(self) -> Mapping[JobState, int]:
        if self._ended is None or time.monotonic() >= self._count_ended_at:
            await self._count_ended()
        unfinished = await self.unfinished_counts()
        with self._lock:
            assert self._ended is not None
            ended = {state: max(0, self._ended[state]) for state in ENDED}
        return {state: ended[state] if state.is_final else unfinished[state] for state in JobState}

    async def unfinished_counts(self) -> Mapping[JobState, int]:
        unfinished = await self._unfinished.get()
        return {state: unfinished[state] for state in UNFINISHED}

    def _take_far_from_full(self, jobs: int, max_pending: int) -> bool:
        with self._lock:
            pending, now = self._pending, time.monotonic()
            if pending is None or now - pending.counted_at > COUNT_COUNTS_S:
                return False
            if pending.jobs + jobs + FULL_SOON > max_pending:
                return False
            self._pending = _Pending(pending.jobs + jobs, pending.counted_at)
            return True

    def _counted(self, pending: int) -> None:
        with self._lock:
            self._pending = _Pending(pending, time.monotonic())

    async def _count_ended(self) -> None:
        begun = time.monotonic()
        self._count_ended_at = begun + ENDED_COUNT_S  # others need not count meanwhile
        try:
            counted = await self._database.read(lambda connection: _counts(connection, COUNT_ENDED))
        except StorageFailure:
            log.warning("ended_jobs_not_counted", hint="what is told is from before, or what PostgreSQL believes")
            if self._ended is None:
                self._ended = await self._database.read(_believed)
        else:
            with self._lock:
                self._ended = counted
        took_s = time.monotonic() - begun
        self._count_ended_at = time.monotonic() + max(ENDED_COUNT_S, PART_OF_TIME * took_s)


def _counts(connection: Connection, statement: Select[Any, int]) -> Counter[JobState]:  # Any: as SQLAlchemy types it
    found: dict[str, int] = {state: number for state, number in connection.execute(statement)}
    return Counter({JobState(state): number for state, number in found.items()})


def _believed(connection: Connection) -> Counter[JobState]:
    found = {JobState(state): max(0, number) for state, number in connection.execute(BELIEVED)}
    return Counter({state: found.get(state, 0) for state in ENDED})
