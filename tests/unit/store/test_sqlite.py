"""The stores in one SQLite file: opening, closing, and what is found after a restart."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection

from danqing.core.errors import StorageFailure
from danqing.core.states import JobState
from danqing.core.types import GenerationRequest
from danqing.store import rows
from danqing.store.connections import open_reading
from danqing.store.sqlite import SqliteStores
from danqing.store.sqlite_database import SqliteDatabase
from tests.contracts.job_store import an_image, generated, processing
from tests.fakes.domain import LOST, NO_LIMIT, NOW, a_job, a_request, an_original, later
from tests.unit.store.files import ask, tamper

DEADLINE_S = 60


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStores]:
    """The stores, closed at the end."""
    stores = SqliteStores.open(path, clock=lambda: NOW)
    try:
        yield stores
    finally:
        await stores.close()


async def test_a_restart_finds_everything_as_it_was(path: Path) -> None:
    # Given jobs in every unfinished state and one that is done, batches, one of them forgotten, and a subscription
    async with opened(path) as first:
        jobs = first.jobs
        waiting = await jobs.add(a_job(priority=2, batch_id="b", metadata={"a": [1]}), NO_LIMIT, batch_size=2)
        running, making_more = await processing(jobs, batch_id="b", batch_index=4), await generated(jobs)
        done, lost = await processing(jobs), await processing(jobs)
        done = await jobs.complete(done.id, 1, [an_original(done)], ["scaled"], later())
        lost = await jobs.give_back(lost.id, 1, LOST, later())
        assert done is not None
        assert lost is not None
        await first.batches.forget(making_more.batch_id, "local")
        await first.subscriptions.add("local", "c", done.id)
        counts, history = dict(await jobs.counts()), await first.batches.batches(None, limit=9, offset=0)
    # When the file is opened again, then all is the same, and the next sequence is a new one
    async with opened(path) as second:
        assert await second.jobs.get(done.id) == done
        assert await second.jobs.unfinished() == [waiting, running, making_more, lost]
        assert dict(await second.jobs.counts()) == counts
        assert await second.batches.batches(None, limit=9, offset=0) == history
        assert [batch.size for batch in history] == [1, 1, 2]
        assert await second.subscriptions.jobs("local", "c", ended=9) == [done]
        assert (await second.jobs.add(a_job(), NO_LIMIT)).sequence > lost.sequence


async def test_closing_twice_is_fine_and_later_calls_fail(path: Path) -> None:
    async with opened(path) as stores:
        job = await stores.jobs.add(a_job(), NO_LIMIT)
        await stores.close()
        await stores.close()
        for call in (
            stores.jobs.get(job.id),
            stores.jobs.add(a_job(), NO_LIMIT),
            stores.batches.forget(job.batch_id, None),
            stores.batches.batch(job.batch_id, None),
            stores.subscriptions.add("local", "c", job.id),
        ):
            with pytest.raises(StorageFailure):
                await call


async def test_what_nobody_waits_for_any_more_is_not_written(path: Path) -> None:
    # Given a writer that is busy, and two who wait for it
    database = SqliteDatabase.open(path)
    busy, go = threading.Event(), threading.Event()
    written: list[str] = []

    def hold(_: Connection) -> None:
        busy.set()
        assert go.wait(DEADLINE_S)

    try:
        held = asyncio.create_task(database.write(hold, durable=False))
        assert await asyncio.to_thread(busy.wait, DEADLINE_S)
        leaving, staying = (
            asyncio.create_task(database.write(lambda _, name=name: written.append(name), durable=True))
            for name in ("leaving", "staying")
        )
        await asyncio.sleep(0)
        # When one of them leaves, and the writer goes on
        leaving.cancel()
        await asyncio.wait([leaving])
        go.set()
        await asyncio.gather(held, staying)
        # Then only what the other one wanted was done
        assert leaving.cancelled()
        assert written == ["staying"]
    finally:
        go.set()
        database.close()


async def test_closing_finishes_the_calls_under_way(path: Path) -> None:
    # Given many adds on their way
    first = SqliteStores.open(path)
    adds = [asyncio.ensure_future(first.jobs.add(a_job(), NO_LIMIT)) for _ in range(50)]
    await asyncio.sleep(0)
    # When the stores are closed
    await first.close()
    # Then all were stored and answered
    added = await asyncio.gather(*adds)
    async with opened(path) as second:
        assert {job.id for job in await second.jobs.unfinished()} == {job.id for job in added}


UNREADABLE = pytest.mark.parametrize(
    "tampering",
    [
        "request = json_set(request, '$.style', 'ink')",
        "request = json_remove(request, '$.seed')",
        'request = json_set(request, \'$.mask\', json(\'{"name": "a", "width": 1, "height": 1, "depth": 1}\'))',
        "request = json_set(request, '$.input_images', 7)",
        "request = json_set(request, '$.further', json('[\"hologram\"]'))",
        "request = 'no json'",
        "metadata = '[]'",
    ],
    ids=["of_a_newer_version", "incomplete", "newer_image", "odd_images", "newer_kind", "damaged", "odd_metadata"],
)


@UNREADABLE
async def test_unfinished_jobs_that_cannot_be_read_have_failed_when_the_store_is_open(
    path: Path, tampering: str
) -> None:
    # Given jobs in every unfinished state, two of each, one of which has a row that this version cannot read
    async with opened(path) as first:
        waiting, plain = [await first.jobs.add(a_job(), NO_LIMIT) for _ in range(2)]
        running, plain_running = [await processing(first.jobs) for _ in range(2)]
        making_more, plain_making_more = [await generated(first.jobs) for _ in range(2)]
    ids = (waiting.id, running.id, making_more.id)
    tamper(path, f"UPDATE jobs SET {tampering} WHERE id IN (?, ?, ?)", *ids)
    # When the file is opened
    async with opened(path) as second:
        # Then these three have failed, count as such, and are not taken, though nobody can read them
        assert await second.jobs.unfinished() == [plain, plain_running, plain_making_more]
        assert dict(await second.jobs.counts()) == {
            JobState.PENDING: 1,
            JobState.PROCESSING: 1,
            JobState.GENERATED: 1,
            JobState.COMPLETED: 0,
            JobState.FAILED: 3,
            JobState.CANCELLED: 0,
        }
        assert await second.jobs.claim(waiting.id, "w1", later()) is None
        with pytest.raises(StorageFailure):
            await second.jobs.get(waiting.id)
    # And the file says why, of the jobs and of the attempts that ran
    told = "SELECT failure_code, finished_at IS NOT NULL FROM jobs WHERE id IN (?, ?, ?)"
    assert ask(path, told, *ids) == [("storage_failure", 1)] * 3
    told = "SELECT failure_code, ended_at IS NOT NULL FROM attempts WHERE job_id IN (?, ?)"
    assert ask(path, told, running.id, making_more.id) == [("storage_failure", 1)] * 2


async def test_lists_go_on_without_a_job_that_cannot_be_read(path: Path) -> None:
    # Given three jobs in two batches, and a client that asked for all; one of each batch cannot be read any more
    async with opened(path) as first:
        alone = await first.jobs.add(a_job(), NO_LIMIT)
        damaged, whole = [await first.jobs.add(a_job(batch_id="b"), NO_LIMIT) for _ in range(2)]
        for job in (alone, damaged, whole):
            await first.subscriptions.add("local", "c", job.id)
    tamper(path, "UPDATE jobs SET request = '' WHERE id IN (?, ?)", alone.id, damaged.id)
    # When the file is opened, then what can be read is listed
    async with opened(path) as second:
        (batch,) = await second.batches.batches(None, limit=9, offset=0)
        assert (batch.id, batch.size, batch.jobs) == ("b", 2, (whole,))
        assert await second.jobs.with_fingerprint(whole.fingerprint[:8], None) == [whole]
        assert await second.subscriptions.jobs("local", "c", ended=9) == [whole]


@dataclass(frozen=True, kw_only=True)
class LaterRequest(GenerationRequest):
    """What a later version may make of a request."""

    style: str = "ink"


async def test_a_request_of_an_older_version_has_the_defaults_of_newer_fields(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job that was stored by this version
    async with opened(path) as first:
        job = await first.jobs.add(a_job(request=a_request(input_images=(an_image("1"),))), NO_LIMIT)
    # When a later one reads it, whose requests have one field more
    monkeypatch.setattr(rows, "GenerationRequest", LaterRequest)
    async with opened(path) as second:
        read = await second.jobs.get(job.id)
        unfinished = await second.jobs.unfinished()
    # Then it has the field's default, and waits as before
    assert read.request == LaterRequest(**{**vars(job.request), "style": "ink"})
    assert unfinished == [read]


async def test_a_database_of_a_newer_version_is_refused(path: Path) -> None:
    # Given a file that says which code may use it: of this version, or of one that nobody knows
    async with opened(path) as stores:
        job = await stores.jobs.add(a_job(), NO_LIMIT)
    tamper(path, "UPDATE alembic_version SET version_num = '9999'")
    async with opened(path) as stores:
        assert await stores.jobs.get(job.id) == job
    tamper(path, "UPDATE code_compatibility SET oldest_revision = '9998'")
    with pytest.raises(StorageFailure, match="newer version"):
        SqliteStores.open(path)


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageFailure):
        SqliteStores.open(path)
    assert path.read_bytes() == b"not a database" * 1000


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageFailure):
        SqliteStores.open(tmp_path / "nowhere" / "danqing.db")


async def test_a_file_whose_jobs_cannot_be_counted_is_closed_again(path: Path) -> None:
    # Given a job in a state that nobody knows
    async with opened(path) as stores:
        await stores.jobs.add(a_job(), NO_LIMIT)
    tamper(path, "UPDATE jobs SET state = 'asleep'")
    # When the file is opened, it fails
    with pytest.raises(StorageFailure):
        SqliteStores.open(path)
    # Then nobody holds it: the last to close it has emptied its log
    assert not path.with_name(path.name + "-wal").exists()


async def test_the_reading_connection_cannot_write(path: Path, stores: SqliteStores) -> None:
    reading = open_reading(path)
    with pytest.raises(Exception, match="readonly"), reading.begin():
        reading.exec_driver_sql("DELETE FROM jobs")
    reading.close()


async def test_the_file_is_in_wal_mode(path: Path, stores: SqliteStores) -> None:
    reading = open_reading(path)
    assert reading.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    reading.close()
