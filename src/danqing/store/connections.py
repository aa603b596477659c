"""How connections to the SQLite file are opened: one that writes, others that only read."""

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, create_engine, event

BUSY_TIMEOUT_MS = 5_000  # for locks of other programs (a backup, say); the server itself never competes for one

# Jobs have random ids, so each writes to other pages of the indexes. With SQLite's own 2 MB and 1,000 pages those are
# read and written again and again.
CACHE_KIB = 32 * 1024  # at most; of the connection that writes
CHECKPOINT_PAGES = 4_000  # of 4 KiB, in the log before they are copied into the file


def open_writing(path: Path) -> Connection:
    """The one connection of the one process that may write or checkpoint; creates the file where there is none.

    SQLite before 3.51.3 can lose commits when two connections write or checkpoint at once (the WAL-reset bug), so there
    must never be a second. May be used from any thread, one at a time. Raises SQLAlchemyError.
    """
    return _engine(path, mode="rwc", begin="BEGIN IMMEDIATE").connect()


def open_reading(path: Path) -> Connection:
    """A connection that neither writes nor checkpoints. The writing one must be open. Raises SQLAlchemyError."""
    return _engine(path, mode="ro", begin="BEGIN").connect()


def _engine(path: Path, *, mode: str, begin: str) -> Engine:
    uri = f"{path.absolute().as_uri()}?mode={mode}"

    def connect() -> sqlite3.Connection:
        driver = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        driver.execute("PRAGMA mmap_size = 0")
        if mode == "ro":
            driver.execute("PRAGMA query_only = ON")
        else:
            driver.execute("PRAGMA journal_mode = WAL")
            driver.execute("PRAGMA synchronous = FULL")
            driver.execute("PRAGMA foreign_keys = ON")
            driver.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
            driver.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        return driver

    # hide_parameters: error texts are logged, and prompts are among the parameters.
    engine = create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)

    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)  # the driver, left to itself, begins too late and not before a SAVEPOINT

    event.listen(engine, "begin", begin_transaction)
    return engine
