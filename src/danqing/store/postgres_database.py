"""A PostgreSQL database: a transaction for each call, in threads, over a pool of connections. Others write to it, too.

It may be away for a while, or lose a connection at any time. Knows nothing of what is stored in it.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from danqing.core.errors import StorageAway, StorageFailure, StorageInDoubt
from danqing.store.given_up import Call
from danqing.store.lanes import Lanes
from danqing.store.postgres_connections import Patience, described, is_disconnect, is_passing, make_engine
from danqing.store.tries import InDoubt, Tries, once

T = TypeVar("T")
log = structlog.get_logger(__name__)

LAZILY = text("SET LOCAL synchronous_commit = off")


@dataclass(frozen=True, kw_only=True)
class Threads:
    """How many calls go on at a time, each over a connection of its own, which is opened when it is first needed.

    lanes: of those that have a lane (added jobs); they may wait for other processes, and those that meet in one lane
    share a transaction.
    """

    writing: int = 6
    lanes: int = 4
    reading: int = 4

    @property
    def total(self) -> int:
        """Connections at most, those of locks that are held left out (`advisory_locks.py`)."""
        return self.writing + self.lanes + self.reading


@dataclass(frozen=True, kw_only=True)
class _InLane(Generic[T]):
    """A call that has a lane. again: does it, unless it was done already."""

    call: Call
    work: Callable[[Connection], T]
    again: Callable[[Connection], T]
    durable: bool
    on_commit: Callable[[T], None]
    asked_at: float
    answer: "Future[T]" = field(default_factory=lambda: Future[T]())

    def committed(self, result: T) -> None:
        """Tells everybody."""
        try:
            self.on_commit(result)
        except Exception as exc:
            self.answer.set_exception(exc)
        else:
            self.answer.set_result(result)


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
        self._writers = ThreadPoolExecutor(threads.writing, "store-writer")
        self._lanes = Lanes[_InLane[Any]](threads.lanes, "store-lane", self._run_together)  # of all kinds of results
        self._readers = ThreadPoolExecutor(threads.reading, "store-reader")
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
            return work(connection) if proof is None else once(connection, work, proof)

        def transact(connection: Connection, in_doubt: bool) -> T:
            return self._transact(connection, [call], unless_done if in_doubt else work, durable=durable)

        def answer(result: T) -> None:
            try:
                if on_commit is not None:
                    on_commit(result)
            except Exception as exc:  # a fault of ours; what was committed stays so
                log.exception("store_on_commit_failed")
                if isinstance(exc, StorageFailure):
                    raise
                raise StorageFailure from exc

        if lane is None:
            return self._queue(self._writers, self._engine, transact, answer)
        in_lane = _InLane(
            call=call, work=work, again=unless_done, durable=durable, on_commit=answer, asked_at=time.monotonic()
        )
        try:
            self._lanes.submit(lane, in_lane)
        except RuntimeError as exc:
            raise StorageFailure("The store is closed.") from exc
        return in_lane.answer

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

        answer = self._queue(self._readers, self._snapshots, look, lambda _: None)
        return await Call().answer(answer, within_s=self._patience.call_s)

    def close(self) -> None:
        """See `Database`."""
        self._lanes.close()
        for threads in (self._writers, self._readers):
            threads.shutdown(wait=True)
        self._engine.dispose()

    def _queue(
        self,
        threads: ThreadPoolExecutor,
        engine: Engine,
        work: Callable[[Connection, bool], T],
        on_success: Callable[[T], None],
    ) -> Future[T]:
        asked_at = time.monotonic()

        def run() -> T:
            self._check_in_time(asked_at)
            result = self._run(engine, work)
            on_success(result)
            return result

        try:
            return threads.submit(run)
        except RuntimeError as exc:
            raise StorageFailure("The store is closed.") from exc

    def _check_in_time(self, asked_at: float) -> None:
        if time.monotonic() - asked_at > self._patience.queue_s:
            raise StorageAway("The database is too slow, or away.")

    def _run_together(self, calls: Sequence[_InLane[Any]]) -> None:
        """Runs in one of the threads: all in one transaction, so that one commit is waited for; each for itself if that
        fails, for what is wrong with one of them is nothing to the others.
        """
        wanted = [call for call in calls if call.answer.set_running_or_notify_cancel()]
        in_doubt = False
        if len(wanted) > 1:
            try:
                with self._engine.connect() as connection:
                    results = self._transact(
                        connection,
                        [call.call for call in wanted],
                        lambda connection: [call.work(connection) for call in wanted],
                        durable=any(call.durable for call in wanted),
                    )
            except Exception as exc:  # whatever it is, it comes again
                in_doubt = isinstance(exc, InDoubt)
                log.debug("store_calls_not_together", calls=len(wanted), error=type(exc).__name__)
            else:
                self._note_back()
                for call, result in zip(wanted, results, strict=True):
                    call.committed(result)
                return
        for call in wanted:
            self._run_alone(call, in_doubt)

    def _run_alone(self, call: _InLane[Any], in_doubt: bool) -> None:
        def transact(connection: Connection, in_doubt: bool) -> Any:  # noqa: ANN401 - results of all kinds
            work = call.again if in_doubt else call.work
            return self._transact(connection, [call.call], work, durable=call.durable)

        try:
            if not in_doubt:
                self._check_in_time(call.asked_at)
            result = self._run(self._engine, transact, in_doubt=in_doubt)
        except BaseException as exc:
            call.answer.set_exception(exc)
        else:
            call.committed(result)

    def _run(self, engine: Engine, work: Callable[[Connection, bool], T], *, in_doubt: bool = False) -> T:
        """Runs in one of the threads. work: is also told whether an earlier try may have been committed."""
        begun, tries = time.monotonic(), Tries(self._patience, in_doubt=in_doubt)
        pause_s = self._patience.first_pause_s
        while True:
            try:
                with engine.connect() as connection:
                    result = work(connection, tries.in_doubt)
                self._note_back()
                return result
            except StorageFailure:
                raise
            except (SQLAlchemyError, InDoubt) as exc:
                if not tries.may_go_on(exc, time.monotonic() - begun):
                    self._note("store_call_failed", tries, exc, level=logging.ERROR)
                    if tries.in_doubt:  # whatever failed last
                        raise StorageInDoubt from exc
                    raise (StorageAway if is_passing(exc) else StorageFailure) from exc
                self._note("store_call_tried_again", tries, exc, level=logging.WARNING)
            except Exception as exc:  # whatever a function of ours, or the driver, makes of odd values
                log.error("store_call_failed", tries=tries.number + 1, error=type(exc).__name__)
                raise StorageFailure from exc
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, self._patience.longest_pause_s)

    def _note(self, event: str, tries: Tries, failure: Exception, *, level: int) -> None:
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

    def _transact(
        self, connection: Connection, calls: Sequence[Call], work: Callable[[Connection], T], *, durable: bool
    ) -> T:
        transaction = connection.begin()
        try:
            if not durable:
                connection.execute(LAZILY)
            result = work(connection)
            for call in calls:
                call.begin_commit()
        except BaseException:
            transaction.close()  # rolls back
            raise
        try:
            transaction.commit()
        except DBAPIError as exc:
            if not is_disconnect(exc):
                raise
            raise InDoubt from exc
        return result
