"""Which database the settings mean, and the stores over it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from danqing.config import InvalidSettings, Settings
from danqing.core.background import running
from danqing.core.errors import StorageFailure
from danqing.core.exclusive import Exclusive
from danqing.core.extras import how_to_install
from danqing.core.issued_keys import IssuedKeys
from danqing.core.keeping import KeptJobs
from danqing.core.ports import BatchStore, JobStore, Subscriptions
from danqing.core.shared_store import JobAges, JobLine, Nodes
from danqing.store.database import Database
from danqing.store.history_index import HistoryIndex
from danqing.store.server_secret import server_secret
from danqing.store.sqlite import SqliteStores
from danqing.wiring.part_failures import reason_of, says_no

if TYPE_CHECKING:
    from danqing.store.postgres import PostgresStores  # psycopg is an extra

DATABASE_NAME = "danqing.sqlite"
Around = Callable[[Database], Database]


class StoredJobs(JobStore, JobAges, Protocol):
    """The jobs, also for who only looks how far they have come."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What stores have beside when several processes use them."""

    line: JobLine
    nodes: Nodes
    exclusive: Exclusive
    """True inside for one of all processes at a time, by a name."""


@dataclass(frozen=True, kw_only=True)
class Stores:
    """shared: None where the database is a file that one server has for itself."""

    jobs: StoredJobs
    batches: BatchStore
    subscriptions: Subscriptions
    kept: KeptJobs
    issued_keys: IssuedKeys
    history_index: HistoryIndex
    secret: Callable[[], Awaitable[bytes]]
    """What signs addresses and keys fingerprints, the same for all processes, drawn at the first call."""
    close: Callable[[], Awaitable[None]]
    shared: Shared | None = None

    @asynccontextmanager
    async def kept_indexed(self) -> AsyncGenerator[None]:
        """Inside, the history is indexed, by one of all processes at a time."""
        run = self.history_index.run
        indexing = run() if self.shared is None else run(exclusive=self.shared.exclusive)
        async with running(indexing, name="history-index"):
            yield


@asynccontextmanager
async def open_stores(
    settings: Settings, *, alone: bool, lock_wait_s: float = 0.0, around: Around = lambda database: database
) -> AsyncGenerator[Stores]:
    """Opens the database, creating or migrating it where needed, and closes it in the end.

    alone: this is the only server on it, as one must be that makes its pictures itself; otherwise servers that share it
    are welcome, and one that is alone is not. For a SQLite file, the data directory's lock must be held, and its folder
    must exist. lock_wait_s: how long an earlier server may still be there. around: see `PostgresStores.open`.
    Raises InvalidSettings, StorageFailure, DataDirectoryInUse.
    """
    if settings.database_url is None:
        stores = await asyncio.to_thread(SqliteStores.open, settings.data_dir / DATABASE_NAME, around=around)

        async def secret() -> bytes:
            return await asyncio.to_thread(server_secret, settings.data_dir)

        try:
            yield Stores(
                jobs=stores.jobs,
                batches=stores.batches,
                subscriptions=stores.subscriptions,
                kept=stores.kept,
                issued_keys=stores.issued_keys,
                history_index=stores.history_index,
                secret=secret,
                close=stores.close,
            )
        finally:
            await stores.close()
        return
    # A queue that is alone sees to it by itself, and sooner than the store knows what has ended.
    most = None if alone else settings.max_running_per_owner
    postgres = await asyncio.to_thread(_open_postgres, settings.database_url.get_secret_value(), most, around)
    try:
        async with postgres.hold(alone=alone, wait_s=lock_wait_s):
            yield Stores(
                jobs=postgres.jobs,
                batches=postgres.batches,
                subscriptions=postgres.subscriptions,
                kept=postgres.kept,
                issued_keys=postgres.issued_keys,
                history_index=postgres.history_index,
                secret=postgres.secret,
                close=postgres.close,
                shared=Shared(line=postgres.line, nodes=postgres.nodes, exclusive=postgres.exclusive),
            )
    finally:
        await postgres.close()


def _open_postgres(url: str, max_running_of_owner: int | None, around: Around) -> "PostgresStores":
    try:
        from danqing.store.postgres import PostgresStores

        return PostgresStores.open(url, max_running_of_owner=max_running_of_owner, around=around)
    except ValueError as exc:
        raise InvalidSettings(f"DATABASE_URL is no address of a PostgreSQL database: {exc}") from exc
    except ImportError as exc:
        raise InvalidSettings(f"DATABASE_URL is set, and psycopg is not installed: {how_to_install('scaled')}") from exc
    except StorageFailure as exc:
        if exc.__cause__ is None:  # it says itself what is the matter
            raise
        kind = StorageFailure if says_no(exc.__cause__) else type(exc)
        raise kind(f"The PostgreSQL of DATABASE_URL: {reason_of(exc.__cause__)}.") from exc
