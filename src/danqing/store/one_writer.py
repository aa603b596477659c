"""The Bookkeeping where this process is the only one that writes: it counts along, and nobody waits for anybody."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Self

from sqlalchemy import Connection

from danqing.core.clock import utc_now
from danqing.core.states import JobState
from danqing.store import moves, queries
from danqing.store.database import Database
from danqing.store.room import Room


class OneWriter:
    """Implements `bookkeeping.Bookkeeping`. Made by `begin`."""

    claims_last = False
    is_shared = False

    def __init__(self, counts: Mapping[JobState, int]) -> None:
        self._counts = counts  # replaced, never changed, by the writing thread
        self._room = Room()

    @classmethod
    def begin(cls, database: Database, *, clock: Callable[[], datetime] = utc_now) -> Self:
        """The books of a database that nobody else writes to. Blocking. Raises StorageFailure.

        Unfinished jobs that this version cannot read have failed afterwards: nothing else would ever end them.
        """

        def count(connection: Connection) -> Mapping[JobState, int]:
            moves.fail_unreadable(connection, clock())
            return queries.count_states(connection)

        return cls(database.submit(count, durable=True).result())

    def enter(self, connection: Connection, owner: str) -> None:
        """See `Bookkeeping`; so for all below."""

    def enter_running(self, connection: Connection, owner: str) -> None:
        pass

    def take_room(self, connection: Connection, jobs: int, max_pending: int) -> bool:
        return self._room.take(connection, jobs, max_pending)

    def may_wait_again(self) -> None:
        self._room.one_more()

    def room_committed(self) -> None:
        self._room.committed()

    def moved(self, before: JobState | None, after: JobState) -> None:
        counts = dict(self._counts)
        counts[after] += 1
        if before is not None:
            counts[before] -= 1
        self._counts = counts

    def removed(self, ended: Mapping[JobState, int]) -> None:
        self._counts = {state: number - ended.get(state, 0) for state, number in self._counts.items()}

    async def counts(self) -> Mapping[JobState, int]:
        return self._counts

    async def unfinished_counts(self) -> Mapping[JobState, int]:
        return {state: number for state, number in self._counts.items() if not state.is_final}
