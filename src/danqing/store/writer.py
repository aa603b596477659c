"""Group commit: one thread owns the one writing connection; calls that wait before a transaction is committed share it.

Knows SQLite's settings and threads; knows nothing of jobs.
"""

import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Connection

from danqing.core.errors import StorageFailure
from danqing.store.answers import Answer

T = TypeVar("T")
log = structlog.get_logger(__name__)

MAX_CALLS_PER_TRANSACTION = 256  # bounds how long the first of them waits for the last


@dataclass(frozen=True, kw_only=True)
class _Call(Generic[T]):
    work: Callable[[Connection], T]
    durable: bool
    on_commit: Callable[[T], None] | None
    answer: Answer[T]


class _OneFailed(Exception):
    """One of the calls of a transaction."""


_AnyCall = _Call[Any]  # a transaction holds calls of all kinds of results
_Done = list[tuple[_AnyCall, Any]]


class GroupCommitWriter:
    """Runs functions that write, in the order given, each whole or not at all.

    connection: in autocommit until `begin`, usable from another thread; the writer owns and finally closes it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._driver: sqlite3.Connection = _driver_of(connection)
        self._durable: bool | None = None  # not known before it is first set
        self._calls: SimpleQueue[_AnyCall | None] = SimpleQueue()
        self._left_over: _AnyCall | None = None  # taken out of it, for the next transaction
        self._gate = Lock()  # no call may come after the None that ends the thread
        self._closed = False
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(
        self, work: Callable[[Connection], T], *, durable: bool, on_commit: Callable[[T], None] | None = None
    ) -> Future[T]:
        """As `queue`; returns what is answered."""
        answer = Future[T]()
        self.queue(work, answer, durable=durable, on_commit=on_commit)
        return answer

    def queue(
        self,
        work: Callable[[Connection], T],
        answer: Answer[T],
        *,
        durable: bool,
        on_commit: Callable[[T], None] | None = None,
    ) -> None:
        """Queues a call. The answer is its result after the commit, or StorageFailure; what nobody waits for any more,
        when its turn comes, is not run. work: may be run twice, with all that the first run wrote rolled back. durable:
        the commit has reached the medium before the result is given. on_commit: told the result after the commit and
        before any caller of that transaction is answered, in the writer's thread. Callable from any thread.
        """
        call = _Call(work=work, durable=durable, on_commit=on_commit, answer=answer)
        with self._gate:
            if self._closed:
                raise StorageFailure("The store is closed.")
            self._calls.put(call)

    def close(self) -> None:
        """Runs what is queued, then closes the connection. Blocking; a second time it does nothing."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._left_over or self._calls.get()) is not None:
            self._left_over = None
            batch = [first] if first.answer.set_running_or_notify_cancel() else []
            self._run_batch([*batch, *self._waiting(MAX_CALLS_PER_TRANSACTION - 1)])
        try:
            self._connection.close()
        except Exception as exc:  # shutdown goes on
            log.error("store_close_failed", reason=str(exc))

    def _waiting(self, most: int, *, durable: bool = True) -> list[_AnyCall]:
        """The next calls, without waiting for any; none once one is left over. durable: whether there may be such."""
        calls: list[_AnyCall] = []
        with contextlib.suppress(Empty):
            while len(calls) < most and self._left_over is None:
                call = self._calls.get_nowait()
                if call is None:
                    self._calls.put(None)
                    break
                if call.durable and not durable:
                    self._left_over = call
                    break
                if call.answer.set_running_or_notify_cancel():
                    calls.append(call)
        return calls

    def _run_batch(self, batch: list[_AnyCall]) -> None:
        """batch: afterwards with the calls that came meanwhile, and shared its transaction."""
        if not batch:
            return
        try:
            self._set_durability(any(call.durable for call in batch))
            done = self._transact(batch)
        except Exception as exc:  # the thread outlives whatever happens to one transaction
            log.error("store_transaction_failed", calls=len(batch), error=type(exc).__name__, reason=str(exc))
            self._leave_transaction()
            for call in batch:
                if not call.answer.done():
                    call.answer.set_exception(_storage_failure(exc))
        else:
            for call, result in [each for each in done if self._told(*each)]:
                call.answer.set_result(result)

    def _told(self, call: _AnyCall, result: Any) -> bool:  # noqa: ANN401 - of any kind of call
        """Calls its on_commit. False: that raised, and it is answered so, it alone."""
        try:
            if call.on_commit is not None:
                call.on_commit(result)
        except Exception as exc:
            log.exception("store_on_commit_failed")
            call.answer.set_exception(_storage_failure(exc))
            return False
        return True

    def _leave_transaction(self) -> None:
        """After a COMMIT that failed SQLite is still inside, though SQLAlchemy believes otherwise."""
        try:
            self._driver.rollback()
        except sqlite3.Error as exc:
            log.error("store_rollback_failed", reason=str(exc))

    def _set_durability(self, durable: bool) -> None:
        """FULL syncs the log at each commit; NORMAL at checkpoints. A FULL commit also syncs what NORMAL ones left."""
        if durable is not self._durable:
            self._driver.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def _transact(self, batch: list[_AnyCall]) -> _Done:
        """Runs the calls in one transaction; returns those that succeeded. Calls that failed alone are answered."""
        try:
            with self._connection.begin():
                return self._all_or_none(batch)
        except _OneFailed:
            return self._each_for_itself(batch)

    def _all_or_none(self, batch: list[_AnyCall]) -> _Done:
        """The usual case, in which none fails; with those that come meanwhile, so that they need not wait for a sync.

        Raises _OneFailed if one does that shares the transaction.
        """
        done: _Done = []
        try:
            while waiting := batch[len(done) :]:
                done += [(call, call.work(self._connection)) for call in waiting]
                batch += self._waiting(MAX_CALLS_PER_TRANSACTION - len(batch), durable=bool(self._durable))
        except Exception as exc:
            if len(batch) == 1:
                raise
            raise _OneFailed from exc
        return done

    def _each_for_itself(self, batch: list[_AnyCall]) -> _Done:
        """A savepoint each costs as much as a statement, so they are left to the case in which one has failed."""
        done: _Done = []
        with self._connection.begin():
            for call in batch:
                try:
                    with self._connection.begin_nested():
                        result = call.work(self._connection)
                except Exception as exc:
                    if not self._driver.in_transaction:  # SQLite gave up the whole transaction, not this call alone
                        raise
                    log.error("store_call_failed", error=type(exc).__name__, reason=str(exc))
                    call.answer.set_exception(_storage_failure(exc))
                else:
                    done.append((call, result))
        return done


def _storage_failure(cause: Exception) -> StorageFailure:
    if isinstance(cause, StorageFailure):
        return cause
    failure = StorageFailure()
    failure.__cause__ = cause
    return failure


def _driver_of(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    if not isinstance(driver, sqlite3.Connection):
        raise TypeError("the writer needs a connection of the sqlite3 driver")
    return driver
