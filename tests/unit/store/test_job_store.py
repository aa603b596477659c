"""SqlJobStore: the contract, and what only a database can show."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from danqing.core.errors import JobNotFound, StorageFailure
from danqing.core.states import JobState
from danqing.core.submitting import KEY_LIFETIME, SubmitKey
from danqing.store.job_store import SqlJobStore
from danqing.store.sqlite import SqliteStores
from tests.contracts.job_store import JobStoreContract
from tests.fakes.domain import NO_LIMIT, NOW, a_job, a_request, later


class TestSqlJobStore(JobStoreContract):
    implementation = SqlJobStore


async def test_a_cancelled_caller_leaves_the_store_working(store: SqlJobStore) -> None:
    task = asyncio.ensure_future(store.add(a_job(), NO_LIMIT))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    job = await store.add(a_job(), NO_LIMIT)
    assert await store.get(job.id) == job
    # Whether the cancelled one was stored or not, figures and rows agree.
    assert (await store.counts())[JobState.PENDING] == len(await store.unfinished())


async def test_what_no_database_can_hold_fails_alone(store: SqlJobStore) -> None:
    bad = [
        a_job(request=a_request(prompt="\ud83d")),  # half a pair
        a_job(metadata={"\ud83d": 1}),
        a_job(created_at=later().replace(tzinfo=None)),
        a_job(priority=2**80),
        a_job(batch_index=2**80),
    ]
    good = a_job()
    # When all are added at once, in one transaction
    answers = await asyncio.gather(*(store.add(job, NO_LIMIT) for job in (*bad, good)), return_exceptions=True)
    # Then the good one is stored
    assert [type(answer) for answer in answers[:-1]] == [StorageFailure] * len(bad)
    assert answers[-1] == await store.get(good.id)
    assert (await store.counts())[JobState.PENDING] == 1


async def test_get_of_a_name_that_no_text_can_hold(store: SqlJobStore) -> None:
    with pytest.raises((JobNotFound, StorageFailure)):
        await store.get("\ud83d")


async def test_keys_that_count_no_more_are_forgotten(path: Path, stores: SqliteStores) -> None:
    # Given three keys
    def keyed(text: str) -> SubmitKey:
        return SubmitKey(text=text, digest="0" * 64)

    for text in "abc":
        await stores.jobs.add(a_job(created_at=NOW), NO_LIMIT, key=keyed(text))
    # When one is noted after their time, then it is the only one
    await stores.jobs.add(a_job(created_at=NOW + KEY_LIFETIME), NO_LIMIT, key=keyed("d"))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT key FROM submit_keys").fetchall() == [("d",)]
    connection.close()
