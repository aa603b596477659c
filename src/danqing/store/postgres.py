"""The stores of many processes, on one machine or several, all in one PostgreSQL database."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Self

import structlog
from sqlalchemy import URL, Connection

from danqing.core.errors import StorageFailure
from danqing.store.advisory_locks import exclusive, hold
from danqing.store.batch_store import SqlBatchStore
from danqing.store.database import Database
from danqing.store.history_index import HistoryIndex
from danqing.store.issued_keys import SqlIssuedKeys
from danqing.store.job_line import PostgresJobLine
from danqing.store.job_store import SqlJobStore
from danqing.store.kept_jobs import SqlKeptJobs
from danqing.store.many_writers import ManyWriters
from danqing.store.migration import migrate_shared
from danqing.store.nodes import PostgresNodes
from danqing.store.postgres_address import postgres_address
from danqing.store.postgres_connections import Patience
from danqing.store.postgres_database import PostgresDatabase, Threads
from danqing.store.settled import SettledAmongMany
from danqing.store.shared_secret import shared_secret
from danqing.store.subscriptions import SqlSubscriptions

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class PostgresStores:
    """Made by `open`."""

    database: PostgresDatabase
    jobs: SqlJobStore
    batches: SqlBatchStore
    subscriptions: SqlSubscriptions
    kept: SqlKeptJobs
    issued_keys: SqlIssuedKeys
    history_index: HistoryIndex
    line: PostgresJobLine
    nodes: PostgresNodes

    @classmethod
    def open(
        cls,
        url: str | URL,
        *,
        threads: Threads | None = None,
        patience: Patience | None = None,
        max_running_of_owner: int | None = None,
        around: Callable[[Database], Database] = lambda database: database,
    ) -> Self:
        """Connects, creating or migrating the tables where needed; of processes that do so at once one does. Blocking.

        url: see `postgres_address`. max_running_of_owner: see `SqlJobStore`. around: what
        the stores use instead of the database, made of it.
        Raises StorageFailure, also for a database that is too new, or not in UTF-8; ValueError for what is no URL of a
        PostgreSQL database; ImportError where psycopg is not installed.
        """
        address = postgres_address(url) if isinstance(url, str) else url
        database = PostgresDatabase(address, threads=threads, patience=patience)
        try:
            database.submit(_prepare, durable=True).result()
        except StorageFailure as exc:
            database.close()
            log.error("store_open_failed", reason=exc.public_message)
            raise
        return cls.over(database, max_running_of_owner=max_running_of_owner, around=around)

    @classmethod
    def over(
        cls,
        database: PostgresDatabase,
        *,
        max_running_of_owner: int | None = None,
        around: Callable[[Database], Database] = lambda database: database,
    ) -> Self:
        """The stores of one whose tables are there. See `open`."""
        used = around(database)
        books = ManyWriters(used)
        return cls(
            database=database,
            jobs=SqlJobStore(used, books, max_running_of_owner=max_running_of_owner),
            batches=SqlBatchStore(used),
            subscriptions=SqlSubscriptions(used),
            kept=SqlKeptJobs(used, books, clock=None),
            issued_keys=SqlIssuedKeys(used),
            history_index=HistoryIndex(database, settled=SettledAmongMany(database)),
            line=PostgresJobLine(used),
            nodes=PostgresNodes(used),
        )

    def exclusive(self, name: str) -> AbstractAsyncContextManager[bool]:
        """See `advisory_locks.exclusive`."""
        return exclusive(self.database.engine, name)

    def hold(self, *, alone: bool, wait_s: float = 0.0) -> AbstractAsyncContextManager[None]:
        """See `advisory_locks.hold`."""
        return hold(self.database.engine, alone=alone, wait_s=wait_s)

    async def secret(self) -> bytes:
        """What all processes on the database share, drawn at the first call of any. Raises StorageFailure."""
        return await self.database.write(shared_secret, durable=True)

    async def close(self) -> None:
        """Finishes the calls under way and closes the connections; later calls raise StorageFailure. Twice is fine."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        """As `close`. Blocking."""
        self.database.close()


def _prepare(connection: Connection) -> None:
    if connection.exec_driver_sql("SHOW server_encoding").scalar_one() != "UTF8":
        raise StorageFailure("The database is not in UTF-8; create it with ENCODING 'UTF8'.")
    migrate_shared(connection)
