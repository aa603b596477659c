"""A database that goes away, comes back, or loses connections just when it hurts: a server of the test's own."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime

import pytest
import pytest_asyncio
from sqlalchemy import Connection

from danqing.core.errors import StorageAway, StorageInDoubt
from danqing.core.ports import JobStore
from danqing.core.states import JobState
from danqing.core.submitting import Join
from danqing.core.types import Job
from danqing.store.postgres import PostgresStores
from danqing.store.postgres_connections import Patience
from tests.contracts.job_store import processing
from tests.fakes.domain import LOST, NO_LIMIT, a_job, an_original, later
from tests.services.cutting_proxy import Cut, CuttingProxy
from tests.services.postgres import PostgresServer
from tests.unit.store.postgres.asking import ask

SOON_S = 60.0  # on a machine that is busy with other things
BRIEF = Patience(connect_s=5, reconnect_s=5.0, doubt_s=30.0, queue_s=10.0)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    url = server.new_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(server.port, words=b"COMMIT")
    yield proxy
    proxy.close()


@pytest_asyncio.fixture
async def stores(url: str) -> AsyncIterator[PostgresStores]:
    stores = await asyncio.to_thread(PostgresStores.open, url, patience=BRIEF)
    yield stores
    await stores.close()


@pytest_asyncio.fixture
async def behind_proxy(url: str, proxy: CuttingProxy, server: PostgresServer) -> AsyncIterator[PostgresStores]:
    address = url.replace(f":{server.port}/", f":{proxy.port}/")
    stores = await asyncio.to_thread(PostgresStores.open, address, patience=BRIEF)
    yield stores
    await stores.close()


async def test_a_database_that_is_away_fails_calls_soon_and_comes_back_by_itself(
    server: PostgresServer, stores: PostgresStores, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given stores in use
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    # When the server is stopped, then every call fails, soon, however many there are
    server.stop()
    begun = time.monotonic()
    calls = [stores.jobs.get(job.id), stores.jobs.claim(job.id, "w", later()), stores.jobs.counts()]
    calls += [stores.jobs.add(a_job(), NO_LIMIT) for _ in range(50)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(answer) for answer in answers} == {StorageAway}
    assert time.monotonic() - begun < SOON_S
    # When it is there again, then they work
    server.start()
    assert await stores.jobs.get(job.id) == job
    assert await stores.jobs.claim(job.id, "w", later())
    assert (await stores.jobs.counts())[JobState.PENDING] == 0
    # And the log tells of it once, not with every try
    warned = [line for line in capsys.readouterr().out.splitlines() if "debug" not in line]
    told = [sum(word in line for line in warned) for word in ("database_away", "database_back", "store_call")]
    assert told == [1, 1, 0]


async def test_a_server_that_does_not_answer_fails_calls_soon(server: PostgresServer, url: str) -> None:
    # Given a server that is frozen
    server.freeze()
    try:
        begun = time.monotonic()
        with pytest.raises(StorageAway):
            await asyncio.to_thread(PostgresStores.open, url, patience=BRIEF)
        assert time.monotonic() - begun < SOON_S
    finally:
        server.thaw()


async def test_calls_outlive_a_server_that_is_restarted(server: PostgresServer, url: str) -> None:
    # Given stores that wait a while, with connections open
    stores = await asyncio.to_thread(PostgresStores.open, url, patience=Patience(reconnect_s=SOON_S, queue_s=SOON_S))
    jobs = await asyncio.gather(*(stores.jobs.add(a_job(owner=f"{n}"), NO_LIMIT) for n in range(8)))
    # When the server dies and is started again, while jobs are added, claimed and read
    server.kill()
    calls = [asyncio.ensure_future(stores.jobs.get(job.id)) for job in jobs]
    calls += [asyncio.ensure_future(stores.jobs.claim(job.id, "w", later())) for job in jobs]
    calls += [asyncio.ensure_future(stores.jobs.add(a_job(owner=f"{n}"), NO_LIMIT)) for n in range(8)]
    await asyncio.sleep(0)
    server.start()  # in this thread, with whose end it would end
    # Then nobody notices
    answers = await asyncio.gather(*calls)
    assert all(answers)
    assert (await stores.jobs.counts())[JobState.PROCESSING] == len(jobs)
    assert (await stores.jobs.counts())[JobState.PENDING] == 8
    await stores.close()


async def test_connections_that_are_cut_are_replaced(url: str, stores: PostgresStores) -> None:
    jobs = await asyncio.gather(*(stores.jobs.add(a_job(owner=f"{n}"), NO_LIMIT) for n in range(4)))
    ask(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'danqing'")
    assert await asyncio.gather(*(stores.jobs.get(job.id) for job in jobs)) == jobs
    assert await stores.jobs.add(a_job(), NO_LIMIT)


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
async def test_a_commit_whose_answer_is_lost_counts_once(
    url: str, behind_proxy: PostgresStores, proxy: CuttingProxy, cut: Cut
) -> None:
    # Given a claimed job
    jobs = behind_proxy.jobs
    job = await jobs.add(a_job(), NO_LIMIT)
    assert await jobs.claim(job.id, "w", later())
    # When the connection is lost at the commit, before or after the server has done it, then each call has one effect,
    # and says which
    proxy.cut = cut
    added = await jobs.add(a_job(), NO_LIMIT)
    assert proxy.cut is Cut.NEVER
    proxy.cut = cut
    moved = await jobs.move_up(added, 3)
    assert proxy.cut is Cut.NEVER
    assert moved is not None
    assert (moved.priority, moved) == (3, await jobs.get(added.id))
    proxy.cut = cut
    claimed = await jobs.claim(added.id, "w", later())
    assert proxy.cut is Cut.NEVER
    assert claimed is not None
    assert [attempt.number for attempt in claimed.attempts] == [1]
    proxy.cut = cut
    done = await jobs.complete(job.id, 1, [an_original(job)], [], later())
    assert done is not None
    assert proxy.cut is Cut.NEVER
    assert [await jobs.get(one.id) for one in (added, job)] == [claimed, done]
    assert ask(url, "SELECT count(*) FROM jobs") == [(2,)]


Move = Callable[[JobStore, Job, datetime], Awaitable[Job | None]]


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
@pytest.mark.parametrize(
    "move",
    [
        lambda jobs, job, now: jobs.generate(job.id, 1, [an_original(job)], ["cut"]),
        lambda jobs, job, now: jobs.complete(job.id, 1, [an_original(job)], ["cut"], now),
        lambda jobs, job, now: jobs.fail(job.id, 1, LOST, now),
        lambda jobs, job, now: jobs.give_back(job.id, 1, LOST, now),
        lambda jobs, job, now: jobs.cancel(job.id, now),
    ],
    ids=["generate", "complete", "fail", "give_back", "cancel"],
)
async def test_a_move_whose_answer_is_lost_is_told_as_done(
    behind_proxy: PostgresStores, proxy: CuttingProxy, move: Move, cut: Cut
) -> None:
    # Given a running job
    jobs = behind_proxy.jobs
    job = await processing(jobs)
    # When its move is committed and the connection lost, then it is answered as any, and done once
    proxy.cut = cut
    moved = await move(jobs, job, later())
    assert proxy.cut is Cut.NEVER
    assert moved is not None
    assert await jobs.get(job.id) == moved
    assert len(moved.attempts) == 1
    # And a move that was not done is none
    proxy.cut = cut
    assert await jobs.complete(job.id, 7, [], [], later()) is None
    assert proxy.cut is Cut.NEVER


async def test_several_jobs_whose_answer_is_lost_are_stored_once_with_those_they_joined(
    behind_proxy: PostgresStores, proxy: CuttingProxy
) -> None:
    jobs = behind_proxy.jobs
    there = await jobs.add(a_job(fingerprint="a"), NO_LIMIT)
    new = [a_job(fingerprint=fingerprint, batch_id="batch") for fingerprint in "abc"]
    proxy.cut = Cut.AFTER
    added = await jobs.add_all(new, NO_LIMIT, batch_sizes=[3] * 3, join=Join.UNDER_WAY)
    assert proxy.cut is Cut.NEVER
    assert [job.id for job in added] == [there.id, new[1].id, new[2].id]
    assert [job.id for job in await jobs.unfinished()] == [job.id for job in added]
    assert (await behind_proxy.batches.batch("batch", None)).size == 2


async def test_a_commit_that_stays_in_doubt_is_told_as_a_failure(
    server: PostgresServer, url: str, proxy: CuttingProxy
) -> None:
    # Given stores that try for a short while only, and a server that dies as it commits
    address = url.replace(f":{server.port}/", f":{proxy.port}/")
    patience = Patience(connect_s=10, reconnect_s=0.1, doubt_s=0.2)
    stores = await asyncio.to_thread(PostgresStores.open, address, patience=patience)
    proxy.on_cut = server.kill
    proxy.cut = Cut.AFTER
    # Then the call fails, and nobody is told to ask again in a moment
    job = a_job()
    with pytest.raises(StorageInDoubt) as told:  # though the tries after the first did not even reach the server
        await stores.jobs.add(job, NO_LIMIT)
    assert told.value.retry_after_s is None
    # And the same job cannot be stored twice
    server.start()
    assert (await stores.jobs.get(job.id)).id == job.id
    await stores.close()


async def test_a_lock_that_others_hold_too_long_fails_the_call(url: str) -> None:
    # Given somebody who holds a job's row
    stores = await asyncio.to_thread(PostgresStores.open, url, patience=Patience(lock_s=0.1))
    job = await stores.jobs.add(a_job(), NO_LIMIT)
    with stores.database.engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("SELECT FROM jobs FOR UPDATE")
        # Then who wants it is told so, and others are not held up
        with pytest.raises(StorageAway):
            await stores.jobs.claim(job.id, "w", later())
        assert await stores.jobs.get(job.id) == job
    assert await stores.jobs.claim(job.id, "w", later())
    await stores.close()


async def test_a_deadlock_is_tried_again(stores: PostgresStores) -> None:
    # Given two jobs, and a stranger who locks them in the other order
    first, second = [await stores.jobs.add(a_job(), NO_LIMIT) for _ in range(2)]
    engine, tries = stores.database.engine, 0
    with engine.connect() as stranger:
        transaction = stranger.begin()
        stranger.exec_driver_sql("SET LOCAL deadlock_timeout = '1h'")  # so that it is ours that gives way
        stranger.exec_driver_sql("UPDATE jobs SET priority = 1 WHERE id = %s", (second.id,))
        its_pid = stranger.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        met = asyncio.Event()
        loop = asyncio.get_running_loop()

        def waits(pid: int) -> bool:
            with engine.connect() as looking:
                its = looking.exec_driver_sql("SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", (pid,))
                return bool(its.all())

        def work(connection: Connection) -> int:
            nonlocal tries
            tries += 1
            connection.exec_driver_sql("SET LOCAL deadlock_timeout = '10ms'")
            connection.exec_driver_sql("UPDATE jobs SET priority = 2 WHERE id = %s", (first.id,))
            loop.call_soon_threadsafe(met.set)
            deadline = time.monotonic() + SOON_S
            while tries == 1 and not waits(its_pid):  # who waits last looks for a circle, and only once
                assert time.monotonic() < deadline
                time.sleep(0.01)
            connection.exec_driver_sql("UPDATE jobs SET priority = 2 WHERE id = %s", (second.id,))
            return tries

        ours = asyncio.ensure_future(stores.database.write(work, durable=True))
        await met.wait()
        await asyncio.to_thread(stranger.exec_driver_sql, "UPDATE jobs SET priority = 1 WHERE id = %s", (first.id,))
        transaction.commit()
        # Then it is done in the end
        assert await ours == tries >= 2
    assert (await stores.jobs.get(first.id)).priority == 2
