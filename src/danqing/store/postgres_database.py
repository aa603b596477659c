"""A PostgreSQL database: a transaction for each call, in threads, over a pool of connections. Others write to it, too.

It may be away for a while, or lose a connection at any time. Knows nothing of what is stored in it.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from danqing.core.errors import StorageFailure
from danqing.store.given_up import Call
from danqing.store.lanes import Lanes
from danqing.store.postgres_connections import Patience, described, is_disconnect, make_engine, sqlstate_of

T = TypeVar("T")
log = structlog.get_logger(__name__)

LAZILY = text("SET LOCAL synchronous_commit = off")

_SERIALISATION_FAILURE, _DEADLOCK = "40001", "40P01"
_ALREADY_THERE = "23505"  # between a look and an insert another process was quicker: the next look finds it


@dataclass(frozen=True, kw_only=True)
class Threads:
    """How many calls go on at a time, each over a connection of its own, which is opened when it is first needed.

    lanes: of those that have a lane (added jobs); they may wait for other processes.
    """

    writing: int = 6
    lanes: int = 4
    reading: int = 4

    @property
    def total(self) -> int:
        """Connections at most, those of locks that are held left out (`advisory_locks.py`)."""
        return self.writing + self.lanes + self.reading


class _InDoubt(Exception):
    """The connection was lost while a transaction was committed."""


class PostgresDatabase:
    """Implements `database.Database`; any number of them, in any number of processes, may be on one database.

    A call that finds the connection lost, or meets a deadlock, is run again for a while; one that was being committed
    then is asked for its proof before. Writes are in READ COMMITTED, reads see one moment.

    `read` and `write` fail after `Patience.call_s`, whatever the server does. What was not being committed by then is
    never committed. What was is waited for to its end, but for calls with a lane: the caller is told of the doubt.
    """

    def __init__(self, url: URL, *, threads: Threads | None = None, patience: Patience | None = None) -> None:
        """Connects to nothing yet. Raises ImportError where psycopg is not installed."""
        threads = threads or Threads()
        self._patience = patience or Patience()
        self._engine = make_engine(url, connections=threads.total, patience=self._patience)
        self._snapshots = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._writers = Lanes(threads.writing, "store-writer")
        self._lanes = Lanes(threads.lanes, "store-lane")
        self._readers = Lanes(threads.reading, "store-reader")
        self._away = False  # as far as is told in the log

    @property
    def engine(self) -> Engine:
        """For what is no call: migrations, locks that are held."""
        return self._engine

    def submit(
        self,
        work: Callable[[Connection], T],
        *,
        durable: bool,
        on_commit: Callable[[T], None] | None = None,
        lane: str | None = None,
        proof: Callable[[Connection], T | None] | None = None,
    ) -> Future[T]:
        """See `Database`. Has no end of its own."""
        return self._submit(Call(), work, durable=durable, on_commit=on_commit, lane=lane, proof=proof)

    def _submit(
        self,
        call: Call,
        work: Callable[[Connection], T],
        *,
        durable: bool,
        on_commit: Callable[[T], None] | None,
        lane: str | None,
        proof: Callable[[Connection], T | None] | None,
    ) -> Future[T]:
        def unless_done(connection: Connection) -> T:
            return work(connection) if proof is None else _unless_done(connection, work, proof)

        def transact(connection: Connection, in_doubt: bool) -> T:
            return self._transact(connection, call, unless_done if in_doubt else work, durable=durable)

        def answer(result: T) -> None:
            if on_commit is not None:
                on_commit(result)

        if lane is None:
            return self._queue(self._writers, None, self._engine, transact, answer)
        return self._queue(self._lanes, lane, self._engine, transact, answer)

    async def write(
        self,
        work: Callable[[Connection], T],
        *,
        durable: bool,
        on_commit: Callable[[T], None] | None = None,
        lane: str | None = None,
        proof: Callable[[Connection], T | None] | None = None,
    ) -> T:
        """See `Database`."""
        call = Call()
        answer = self._submit(call, work, durable=durable, on_commit=on_commit, lane=lane, proof=proof)
        return await call.answer(answer, within_s=self._patience.call_s, may_doubt=lane is not None)

    async def read(self, query: Callable[[Connection], T]) -> T:
        """See `Database`."""

        def look(connection: Connection, _: bool) -> T:
            with connection.begin():
                return query(connection)

        answer = self._queue(self._readers, None, self._snapshots, look, lambda _: None)
        return await Call().answer(answer, within_s=self._patience.call_s)

    def close(self) -> None:
        """See `Database`."""
        for lanes in (self._lanes, self._writers, self._readers):
            lanes.close()
        self._engine.dispose()

    def _queue(
        self,
        lanes: Lanes,
        lane: str | None,
        engine: Engine,
        work: Callable[[Connection, bool], T],
        on_success: Callable[[T], None],
    ) -> Future[T]:
        asked_at = time.monotonic()

        def run() -> T:
            if time.monotonic() - asked_at > self._patience.queue_s:
                raise StorageFailure("The database is too slow, or away.")
            result = self._run(engine, work)
            on_success(result)
            return result

        try:
            return lanes.submit(lane, run)
        except RuntimeError as exc:
            raise StorageFailure("The store is closed.") from exc

    def _run(self, engine: Engine, work: Callable[[Connection, bool], T]) -> T:
        """Runs in one of the threads. work: is also told whether an earlier try may have been committed."""
        begun, tries = time.monotonic(), _Tries(self._patience)
        pause_s = self._patience.first_pause_s
        while True:
            try:
                with engine.connect() as connection:
                    result = work(connection, tries.in_doubt)
                self._note_back()
                return result
            except StorageFailure:
                raise
            except (SQLAlchemyError, _InDoubt) as exc:
                if not tries.may_go_on(exc, time.monotonic() - begun):
                    self._note("store_call_failed", tries, exc, level=logging.ERROR)
                    raise StorageFailure from exc
                self._note("store_call_tried_again", tries, exc, level=logging.WARNING)
            except Exception as exc:  # whatever a function of ours, or the driver, makes of odd values
                log.error("store_call_failed", tries=tries.number + 1, error=type(exc).__name__)
                raise StorageFailure from exc
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, self._patience.longest_pause_s)

    def _note(self, event: str, tries: "_Tries", failure: Exception, *, level: int) -> None:
        """Of a database that is away once, and not with each try of each call."""
        if is_disconnect(failure) and not tries.in_doubt:
            if not self._away:
                self._away = True
                log.warning("database_away", hint="it is asked again", **described(failure))
            level = logging.DEBUG
        log.log(level, event, tries=tries.number, in_doubt=tries.in_doubt, **described(failure))

    def _note_back(self) -> None:
        if self._away:
            self._away = False
            log.info("database_back")

    def _transact(self, connection: Connection, call: Call, work: Callable[[Connection], T], *, durable: bool) -> T:
        transaction = connection.begin()
        try:
            if not durable:
                connection.execute(LAZILY)
            result = work(connection)
            call.begin_commit()
        except BaseException:
            transaction.close()  # rolls back
            raise
        try:
            transaction.commit()
        except DBAPIError as exc:
            if not is_disconnect(exc):
                raise
            raise _InDoubt from exc
        return result


class _Tries:
    """Those of one call."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._collided = False
        self.number = 0
        self.in_doubt = False

    def may_go_on(self, failure: Exception, since_s: float) -> bool:
        """Whether the call, which has just failed so long after its beginning, is worth another try."""
        self.number += 1
        if isinstance(failure, _InDoubt):
            self.in_doubt = True
            return since_s < self._patience.doubt_s
        state = sqlstate_of(failure)
        if state in (_SERIALISATION_FAILURE, _DEADLOCK):
            return self.number < self._patience.tries
        if state == _ALREADY_THERE:
            collided_before, self._collided = self._collided, True
            return not collided_before
        until_s = self._patience.doubt_s if self.in_doubt else self._patience.reconnect_s
        return is_disconnect(failure) and since_s < until_s


def _unless_done(connection: Connection, work: Callable[[Connection], T], proof: Callable[[Connection], T | None]) -> T:
    """The server may still be at the lost commit: then the work waits for its locks, and finds nothing to do."""
    if (done := proof(connection)) is not None:
        return done
    result = work(connection)
    if result is None and (done := proof(connection)) is not None:
        return done
    return result
