"""The index of the history in a SQLite file: the contract."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import Connection

from danqing.core.errors import StorageFailure
from danqing.store.history_index import HistoryIndex
from danqing.store.sqlite import SqliteStores
from tests.contracts.history_index import HistoryIndexContract, SkipTo


@pytest.fixture
def skip_to(stores: SqliteStores) -> SkipTo:
    async def skip(sequence: int) -> None:
        def note(connection: Connection) -> None:
            values = (sequence - 1,)
            connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = 'jobs'")
            connection.exec_driver_sql("INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', ?)", values)

        await stores.database.write(note, durable=False)

    return skip


async def test_it_goes_on_after_a_failure_and_only_where_it_is_its_turn(
    stores: SqliteStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an index whose turn it is not at first, and whose database fails once
    monkeypatch.setattr("danqing.store.history_index.LOOK_EVERY_S", 0.0)
    turns = iter([False, True, True])
    calls: list[str] = []
    done = asyncio.Event()

    @asynccontextmanager
    async def exclusive(name: str) -> AsyncGenerator[bool]:
        calls.append(name)
        yield next(turns)

    async def settled() -> int:
        calls.append("settled")
        if calls.count("settled") == 1:
            raise StorageFailure
        done.set()
        return 0

    running = asyncio.create_task(HistoryIndex(stores.database, settled=settled).run(exclusive=exclusive))
    # Then it looks again, and again
    await asyncio.wait_for(done.wait(), 30)
    assert calls == ["history-index", "history-index", "settled", "history-index", "settled"]
    running.cancel()


class TestSqliteHistoryIndex(HistoryIndexContract):
    pass
