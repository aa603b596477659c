"""A SQLite file in WAL mode with one writing thread and one reading thread. Knows nothing of what is stored in it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from danqing.core.errors import StorageFailure
from danqing.durable_files import sync_directory
from danqing.store.answers import LoopAnswer, LoopAnswers
from danqing.store.connections import open_reading, open_writing
from danqing.store.migration import migrate
from danqing.store.writer import GroupCommitWriter

T = TypeVar("T")
log = structlog.get_logger(__name__)


class SqliteDatabase:
    """Implements `database.Database`. Made by `open`; the data directory's lock must be held as long as it lives.

    Writes share transactions (`writer.py`). Reads see every answered write.
    """

    def __init__(self, *, writing: Connection, reading: Connection) -> None:
        self._writer = GroupCommitWriter(writing)
        self._answers: LoopAnswers | None = None  # of the event loop that asks
        self._reading = reading
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-reader")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens the file, creating or migrating it where needed; its folder must exist. Blocking.

        Raises StorageFailure, also for a file that a newer version has written.
        """
        try:
            writing = open_writing(path)
        except (SQLAlchemyError, OSError) as exc:
            raise _cannot_open(exc) from exc
        try:
            migrate(writing)
            sync_directory(path.absolute().parent)  # SQLite syncs the file, not its name
            return cls(writing=writing, reading=open_reading(path))
        except (SQLAlchemyError, OSError, ValueError) as exc:
            writing.close()
            raise _cannot_open(exc) from exc
        except StorageFailure:
            writing.close()
            raise

    def close(self) -> None:
        """Finishes the calls under way and closes the file; later calls raise StorageFailure.

        Twice is fine. Blocking.
        """
        self._reader.shutdown(wait=True)
        self._reading.close()
        self._writer.close()  # the last to close, for it checkpoints

    def submit(
        self,
        work: Callable[[Connection], T],
        *,
        durable: bool,
        on_commit: Callable[[T], None] | None = None,
        lane: str | None = None,
        proof: Callable[[Connection], T | None] | None = None,
    ) -> Future[T]:
        """See `Database`, and `GroupCommitWriter.submit`. One lane, and no doubt. Raises StorageFailure."""
        return self._writer.submit(work, durable=durable, on_commit=on_commit)

    async def write(
        self,
        work: Callable[[Connection], T],
        *,
        durable: bool,
        on_commit: Callable[[T], None] | None = None,
        lane: str | None = None,
        proof: Callable[[Connection], T | None] | None = None,
    ) -> T:
        """As `submit`, and waits for the commit."""
        loop = asyncio.get_running_loop()
        answers = self._answers
        if answers is None or answers.loop is not loop:
            answers = self._answers = LoopAnswers(loop)
        answer = LoopAnswer[T](answers)
        self._writer.queue(work, answer, durable=durable, on_commit=on_commit)
        return await answer.future

    async def read(self, query: Callable[[Connection], T]) -> T:
        """What a function reads, all of it from one state of the database, the newest. Raises StorageFailure."""
        try:
            answer = self._reader.submit(self._query, query)
        except RuntimeError as exc:
            raise StorageFailure("The store is closed.") from exc
        return await asyncio.wrap_future(answer)

    def _query(self, query: Callable[[Connection], T]) -> T:
        """Runs in the reading thread."""
        try:
            with self._reading.begin():
                return query(self._reading)
        except (SQLAlchemyError, ValueError) as exc:
            log.error("store_read_failed", error=type(exc).__name__, reason=str(exc))
            raise StorageFailure from exc


def _cannot_open(cause: Exception) -> StorageFailure:
    log.error("store_open_failed", error=type(cause).__name__, reason=str(cause))
    return StorageFailure("The database cannot be opened.")
