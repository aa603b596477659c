"""Room for waiting jobs: never more than there is, and counted only when it matters."""

import asyncio
import threading

import pytest
from sqlalchemy import Connection

from danqing.core.errors import QueueFull, StorageFailure
from danqing.store import queries, schema, writer
from danqing.store.sqlite import SqliteStores
from tests.fakes.domain import LOST, NO_LIMIT, a_job, later

WAIT_S = 10.0


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What was counted, each time."""
    counted: list[int] = []
    count = queries.count_pending

    def noting(connection: Connection) -> int:
        counted.append(count(connection))
        return counted[-1]

    monkeypatch.setattr(queries, "count_pending", noting)
    return counted


async def test_jobs_are_counted_only_where_there_may_be_no_room(stores: SqliteStores, counts: list[int]) -> None:
    # Given room for five
    for _ in range(5):
        await stores.jobs.add(a_job(), 5)
    # Then they were counted once, at the first
    assert counts == [0]
    # When there is room again, it is found out, and no more than there is is taken
    first, second, *_ = await stores.jobs.unfinished()
    for job in (first, second):
        await stores.jobs.claim(job.id, "w1", later())
    await stores.jobs.add(a_job(), 5)
    await stores.jobs.give_back(first.id, 1, LOST, later())
    with pytest.raises(QueueFull):
        await stores.jobs.add(a_job(), 5)
    assert counts == [0, 3, 5]
    # And who may have more, is not held up by it
    await stores.jobs.add(a_job(), NO_LIMIT)
    assert counts == [0, 3, 5]


async def test_what_a_transaction_saw_that_failed_is_no_room(
    stores: SqliteStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_CALLS_PER_TRANSACTION", 4)
    # Given two pending jobs where there is room for two
    waiting = [await stores.jobs.add(a_job(), 2) for _ in range(2)]
    begun, go = threading.Event(), threading.Event()

    def hold(_: None) -> None:
        begun.set()
        assert go.wait(WAIT_S)

    held = stores.database.submit(lambda _: None, durable=False, on_commit=hold)
    assert begun.wait(WAIT_S)
    # When they begin, another takes a place of theirs, and the commit of that fails; with one more right behind it
    at_once = [
        *[stores.jobs.claim(job.id, "w1", later()) for job in waiting],
        stores.jobs.add(a_job(), 2),
        asyncio.wrap_future(stores.database.submit(_whose_commit_fails, durable=True)),
        stores.jobs.add(a_job(), 2),
    ]
    answers = asyncio.gather(*at_once, return_exceptions=True)
    await asyncio.sleep(0)  # all of them are queued
    go.set()
    # Then there was no room for any
    assert [type(answer) for answer in await answers] == [*[StorageFailure] * 4, QueueFull]
    assert held.result(WAIT_S) is None
    assert len(await stores.jobs.unfinished()) == 2


def _whose_commit_fails(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    connection.execute(schema.attempts.insert().values(job_id="nobody", number=1, worker="w1", started_at=later()))
