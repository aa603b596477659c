"""Calls of a database are timed, and go through as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import Connection, text

from danqing.core.errors import StorageFailure
from danqing.store.sqlite_database import SqliteDatabase
from danqing.store.timed_database import TimedDatabase


async def test_reads_and_writes_are_timed_also_those_that_fail(tmp_path: Path) -> None:
    # Given a database, and somebody with a stopwatch
    told: list[str] = []

    @contextmanager
    def stopwatch(operation: Literal["read", "write"]) -> Iterator[None]:
        told.append(f"{operation} began")
        try:
            yield
        finally:
            told.append(f"{operation} ended")

    database = TimedDatabase(SqliteDatabase.open(tmp_path / "d.sqlite"), stopwatch)

    def one(connection: Connection) -> int:
        return connection.execute(text("SELECT 1")).scalar_one()

    def broken(connection: Connection) -> None:
        connection.execute(text("SELECT nothing"))

    # When it reads and writes
    committed: list[int] = []
    assert await database.read(one) == 1
    assert await database.write(one, durable=True, on_commit=committed.append) == 1
    with pytest.raises(StorageFailure):
        await database.read(broken)
    # Then each is told, and its answer came through
    assert told == ["read began", "read ended", "write began", "write ended", "read began", "read ended"]
    assert committed == [1]
    # And what is only queued is not
    assert database.submit(one, durable=False).result() == 1
    assert len(told) == 6
    database.close()
    with pytest.raises(StorageFailure):
        await database.read(one)
