"""The stores of one server on one machine, all in one SQLite file."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from danqing.core.clock import utc_now
from danqing.core.errors import StorageFailure
from danqing.store.at_hand import JobsAtHand
from danqing.store.batch_store import SqlBatchStore
from danqing.store.database import Database
from danqing.store.history_index import HistoryIndex
from danqing.store.issued_keys import SqlIssuedKeys
from danqing.store.job_store import SqlJobStore
from danqing.store.kept_jobs import SqlKeptJobs
from danqing.store.one_writer import OneWriter
from danqing.store.settled import SettledAlone
from danqing.store.sqlite_database import SqliteDatabase
from danqing.store.subscriptions import SqlSubscriptions


@dataclass(frozen=True, kw_only=True)
class SqliteStores:
    """Made by `open`; the data directory's lock must be held until they are closed."""

    database: SqliteDatabase
    at_hand: JobsAtHand
    jobs: SqlJobStore
    batches: SqlBatchStore
    subscriptions: SqlSubscriptions
    kept: SqlKeptJobs
    issued_keys: SqlIssuedKeys
    history_index: HistoryIndex

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        clock: Callable[[], datetime] = utc_now,
        around: Callable[[Database], Database] = lambda database: database,
    ) -> Self:
        """Opens the file, creating or migrating it where needed; its folder must exist. Blocking.

        around: what the stores use instead of the database, made of it.

        Raises StorageFailure, also for a file that a newer version has written.
        """
        database = SqliteDatabase.open(path)
        try:
            books = OneWriter.begin(database, clock=clock)
        except StorageFailure:
            database.close()
            raise
        used, at_hand = around(database), JobsAtHand()
        return cls(
            database=database,
            at_hand=at_hand,
            jobs=SqlJobStore(used, books, at_hand=at_hand),
            batches=SqlBatchStore(used),
            subscriptions=SqlSubscriptions(used),
            kept=SqlKeptJobs(used, books, clock=clock, at_hand=at_hand),
            issued_keys=SqlIssuedKeys(used),
            history_index=HistoryIndex(database, settled=SettledAlone(database)),
        )

    async def close(self) -> None:
        """Finishes the calls under way and closes the file; later calls raise StorageFailure. Twice is fine."""
        await asyncio.to_thread(self.database.close)
        self.at_hand.forget()
