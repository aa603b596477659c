"""SqliteJobStore: the contract, and what only a file can show."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import Select

from danqing.core.errors import JobNotFound, StorageFailure
from danqing.core.states import JobState
from danqing.core.types import GenerationRequest
from danqing.store import queries, rows
from danqing.store.connections import open_reading
from danqing.store.sqlite import SqliteJobStore
from tests.contracts.job_store import JobStoreContract, processing
from tests.fakes.domain import LOST, NO_LIMIT, NOW, a_job, a_request, an_original, later


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "danqing 丹青 100%.db"


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[SqliteJobStore]:
    store = SqliteJobStore.open(path)
    yield store
    await store.close()


class TestSqliteJobStore(JobStoreContract):
    implementation = SqliteJobStore


def tamper(path: Path, sql: str, *values: object) -> None:
    """Changes the file behind the store's back; the store must be closed."""
    with sqlite3.connect(path) as connection:
        connection.execute(sql, values)
    connection.close()


def ask(path: Path, sql: str, *values: object) -> list[tuple[object, ...]]:
    """What the file says."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


async def test_a_restart_finds_everything_as_it_was(path: Path) -> None:
    # Given a store with a job in every state, closed with work pending
    first = SqliteJobStore.open(path)
    waiting = await first.add(a_job(priority=2), NO_LIMIT)
    running = await processing(first)
    done = await processing(first)
    done = await first.complete(done.id, 1, [an_original(done)], ["scaled"], later())
    lost = await processing(first)
    lost = await first.give_back(lost.id, 1, LOST, later())
    counts = dict(await first.counts())
    await first.close()
    # When it is opened again
    second = SqliteJobStore.open(path)
    # Then jobs, figures and order are the same, and the next sequence is a new one
    try:
        assert done is not None
        assert lost is not None
        assert await second.get(done.id) == done
        assert await second.unfinished() == [waiting, running, lost]
        assert dict(await second.counts()) == counts
        assert (await second.add(a_job(), NO_LIMIT)).sequence > lost.sequence
    finally:
        await second.close()


async def test_closing_twice_is_fine_and_later_calls_fail(store: SqliteJobStore) -> None:
    job = await store.add(a_job(), NO_LIMIT)
    await store.close()
    await store.close()
    with pytest.raises(StorageFailure):
        await store.get(job.id)
    with pytest.raises(StorageFailure):
        await store.add(a_job(), NO_LIMIT)


async def test_closing_finishes_the_calls_under_way(path: Path) -> None:
    # Given many adds on their way
    first = SqliteJobStore.open(path)
    adds = [asyncio.ensure_future(first.add(a_job(), NO_LIMIT)) for _ in range(50)]
    await asyncio.sleep(0)
    # When the store is closed
    await first.close()
    # Then all were stored and answered
    added = await asyncio.gather(*adds)
    second = SqliteJobStore.open(path)
    assert {job.id for job in await second.unfinished()} == {job.id for job in added}
    await second.close()


async def test_a_cancelled_caller_leaves_the_store_working(store: SqliteJobStore) -> None:
    task = asyncio.ensure_future(store.add(a_job(), NO_LIMIT))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    job = await store.add(a_job(), NO_LIMIT)
    assert await store.get(job.id) == job
    # Whether the cancelled one was stored or not, figures and rows agree.
    assert (await store.counts())[JobState.PENDING] == len(await store.unfinished())


@pytest.mark.parametrize(
    "tampering",
    ["json_set(request, '$.style', 'ink')", "json_remove(request, '$.seed')", "'no json'"],
    ids=["of_a_newer_version", "incomplete", "damaged"],
)
async def test_unfinished_jobs_that_cannot_be_read_have_failed_when_the_store_is_open(
    path: Path, tampering: str
) -> None:
    # Given waiting and running jobs, one of each with a request that this version cannot read
    first = SqliteJobStore.open(path)
    waiting, plain = await first.add(a_job(), NO_LIMIT), await first.add(a_job(), NO_LIMIT)
    running, plain_running = await processing(first), await processing(first)
    await first.close()
    tamper(path, f"UPDATE jobs SET request = {tampering} WHERE id IN (?, ?)", waiting.id, running.id)
    # When the store is opened
    second = SqliteJobStore.open(path, clock=lambda: NOW)
    # Then these two have failed, count as such, and are not taken, though nobody can read them
    try:
        assert await second.unfinished() == [plain, plain_running]
        counts = await second.counts()
        assert (counts[JobState.PENDING], counts[JobState.PROCESSING], counts[JobState.FAILED]) == (1, 1, 2)
        assert await second.claim(waiting.id, "w1", later()) is None
        with pytest.raises(StorageFailure):
            await second.get(waiting.id)
    finally:
        await second.close()
    # And the file says why, of the jobs and of the attempt that ran
    told = "SELECT failure_code, finished_at IS NOT NULL FROM jobs WHERE id IN (?, ?)"
    assert ask(path, told, waiting.id, running.id) == [("storage_failure", 1)] * 2
    assert ask(path, "SELECT failure_code, ended_at IS NOT NULL FROM attempts WHERE job_id = ?", running.id) == [
        ("storage_failure", 1)
    ]


@dataclass(frozen=True, kw_only=True)
class LaterRequest(GenerationRequest):
    """What a later version may make of a request."""

    style: str = "ink"


async def test_a_request_of_an_older_version_has_the_defaults_of_newer_fields(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job that was stored by this version
    first = SqliteJobStore.open(path)
    job = await first.add(a_job(), NO_LIMIT)
    await first.close()
    # When a later one reads it, whose requests have one field more
    monkeypatch.setattr(rows, "GenerationRequest", LaterRequest)
    second = SqliteJobStore.open(path)
    read = await second.get(job.id)
    unfinished = await second.unfinished()
    await second.close()
    # Then it has the field's default, and waits as before
    assert read.request == LaterRequest(**asdict(job.request), style="ink")
    assert unfinished == [read]


async def test_a_database_of_a_newer_version_is_refused(path: Path) -> None:
    await SqliteJobStore.open(path).close()
    tamper(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageFailure, match="newer version"):
        SqliteJobStore.open(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageFailure):
        SqliteJobStore.open(path)
    assert path.read_bytes() == b"not a database" * 1000


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure):
        SqliteJobStore.open(tmp_path / "nowhere" / "danqing.db")


async def test_what_no_database_can_hold_fails_alone(store: SqliteJobStore) -> None:
    half_a_pair = a_job(request=a_request(prompt="\ud83d"))
    naive = a_job(created_at=later().replace(tzinfo=None))
    huge = a_job(priority=2**80)
    good = a_job()
    # When all are added at once, in one transaction
    answers = await asyncio.gather(
        *(store.add(job, NO_LIMIT) for job in (half_a_pair, naive, huge, good)), return_exceptions=True
    )
    # Then the good one is stored
    assert [type(answer) for answer in answers[:3]] == [StorageFailure] * 3
    assert answers[3] == replace(good, sequence=(await store.get(good.id)).sequence)
    assert (await store.counts())[JobState.PENDING] == 1


async def test_the_reading_connection_cannot_write(path: Path, store: SqliteJobStore) -> None:
    reading = open_reading(path)
    with pytest.raises(Exception, match="readonly"), reading.begin():
        reading.exec_driver_sql("DELETE FROM jobs")
    reading.close()


async def test_the_file_is_in_wal_mode(path: Path, store: SqliteJobStore) -> None:
    reading = open_reading(path)
    assert reading.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    reading.close()


@pytest.mark.parametrize(
    ("statement", "values", "index"),
    [
        (queries.WAITING_BEFORE, {"priority": 0, "sequence": 1}, "ix_jobs_state_priority_sequence"),
        (queries.UNFINISHED_JOBS, {}, "ix_jobs_state_priority_sequence"),
        (queries.PENDING_COUNT, {}, "ix_jobs_state_priority_sequence"),
        (queries.COUNTS, {}, "ix_jobs_state_priority_sequence"),
        (queries.EQUAL_ID, {"owner": "a", "fingerprint": "b"}, "ix_jobs_owner_fingerprint_sequence"),
    ],
    ids=["waiting_before", "unfinished", "pending", "counts", "find_equal"],
)
async def test_no_query_reads_the_whole_history(
    path: Path, store: SqliteJobStore, statement: Select[Any], values: dict[str, object], index: str
) -> None:
    # Given SQLite's plan for the statement
    reading = open_reading(path)
    sql = statement.params(values).compile(reading, compile_kwargs={"literal_binds": True})
    plan = " ".join(row[3] for row in reading.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}"))
    reading.close()
    # Then it goes by the index
    assert index in plan


async def test_get_of_a_name_that_no_text_can_hold(store: SqliteJobStore) -> None:
    with pytest.raises((JobNotFound, StorageFailure)):
        await store.get("\ud83d")
