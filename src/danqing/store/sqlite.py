"""The stores of one server on one machine, all in one SQLite file."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from danqing.core.errors import StorageFailure
from danqing.core.studio import utc_now
from danqing.store.batch_store import SqliteBatchStore
from danqing.store.database import SqliteDatabase
from danqing.store.issued_keys import SqliteIssuedKeys
from danqing.store.job_store import SqliteJobStore
from danqing.store.kept_jobs import SqliteKeptJobs
from danqing.store.subscriptions import SqliteSubscriptions


@dataclass(frozen=True, kw_only=True)
class SqliteStores:
    """Made by `open`; the data directory's lock must be held until they are closed."""

    database: SqliteDatabase
    jobs: SqliteJobStore
    batches: SqliteBatchStore
    subscriptions: SqliteSubscriptions
    kept: SqliteKeptJobs
    issued_keys: SqliteIssuedKeys

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], datetime] = utc_now) -> Self:
        """Opens the file, creating or migrating it where needed; its folder must exist. Blocking.

        Raises StorageFailure, also for a file that a newer version has written.
        """
        database = SqliteDatabase.open(path)
        try:
            jobs = SqliteJobStore.over(database, clock=clock)
        except StorageFailure:
            database.close()
            raise
        return cls(
            database=database,
            jobs=jobs,
            batches=SqliteBatchStore(database),
            subscriptions=SqliteSubscriptions(database),
            kept=SqliteKeptJobs(database, jobs),
            issued_keys=SqliteIssuedKeys(database),
        )

    async def close(self) -> None:
        """Finishes the calls under way and closes the file; later calls raise StorageFailure. Twice is fine."""
        await asyncio.to_thread(self.database.close)
