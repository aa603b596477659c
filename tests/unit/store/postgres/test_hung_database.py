"""A database that is connected and says nothing: callers are answered, and know what became of what they asked."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import pytest_asyncio
from sqlalchemy import create_engine

from danqing.core.errors import JobNotFound, StorageAway, StorageInDoubt
from danqing.store.given_up import NOT_DONE
from danqing.store.postgres import PostgresStores
from danqing.store.postgres_address import postgres_address
from danqing.store.postgres_connections import Patience
from danqing.store.postgres_database import Threads
from tests.fakes.domain import NO_LIMIT, a_job, later
from tests.services.cutting_proxy import Cut, CuttingProxy
from tests.services.postgres import PostgresServer

# Locks and statements are waited for far longer than callers wait.
SHORT = Patience(call_s=3.0, lock_s=600.0, statement_s=600.0, queue_s=600.0, doubt_s=600.0)
PATIENT = Patience(queue_s=600.0, call_s=600.0)


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


@pytest_asyncio.fixture
async def patient(url: str) -> AsyncIterator[PostgresStores]:
    stores = await asyncio.to_thread(PostgresStores.open, url, patience=PATIENT)
    yield stores
    await stores.close()


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(server.port, words=b"COMMIT")
    yield proxy
    proxy.close()


async def test_who_asks_is_answered_and_what_he_gave_up_is_never_done(url: str, patient: PostgresStores) -> None:
    # Given jobs, and a table that nobody can read
    waiting, other = [await patient.jobs.add(a_job(), NO_LIMIT) for _ in range(2)]
    one_of_each = Threads(writing=1, lanes=1, reading=1)
    stores = await asyncio.to_thread(PostgresStores.open, url, patience=SHORT, threads=one_of_each)
    blocker = create_engine(postgres_address(url))
    new, newer = a_job(), a_job()
    with blocker.connect() as connection, connection.begin():
        connection.exec_driver_sql("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        # When it is asked, more often than there are threads, then every call fails, and says that nothing was done
        calls = [stores.jobs.get(waiting.id), stores.jobs.get(other.id)]
        calls += [stores.jobs.add(new, NO_LIMIT), stores.jobs.add(newer, NO_LIMIT)]
        calls += [stores.jobs.claim(waiting.id, "w", later()), stores.jobs.claim(other.id, "w", later())]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(answer) for answer in answers] == [NOT_DONE] * 6
        assert {type(answer) for answer in answers} == {StorageAway}
    # Then nothing is done later either, once it answers
    await stores.close()  # waits for what goes on
    for job in (new, newer):
        with pytest.raises(JobNotFound):
            await patient.jobs.get(job.id)
    for job in (waiting, other):
        assert (await patient.jobs.get(job.id)).attempts == ()
    blocker.dispose()


async def test_who_gives_up_a_commit_is_told_of_the_doubt(
    url: str, server: PostgresServer, proxy: CuttingProxy, patient: PostgresStores
) -> None:
    # Given a server that stores a job, and whose answer does not come
    address = url.replace(f":{server.port}/", f":{proxy.port}/")
    patience = replace(SHORT, call_s=15.0)  # by then the commit has begun, else there is no doubt
    stores = await asyncio.to_thread(PostgresStores.open, address, patience=patience)
    answers = threading.Event()

    def hold() -> None:
        answers.wait()

    proxy.on_cut = hold
    proxy.cut = Cut.AFTER
    job = a_job()
    # When the client has waited long enough
    with pytest.raises(StorageInDoubt):
        await stores.jobs.add(job, NO_LIMIT)
    # Then it hears that the job may be there, as it is, once
    answers.set()
    await stores.close()
    assert [found.id for found in await patient.jobs.unfinished()] == [job.id]


async def test_a_claim_under_way_is_waited_for(
    url: str, server: PostgresServer, proxy: CuttingProxy, patient: PostgresStores
) -> None:
    # Given a worker whose claim is stored, and the answer does not come: nobody else would know that it has the job
    job, other = [await patient.jobs.add(a_job(), NO_LIMIT) for _ in range(2)]
    address = url.replace(f":{server.port}/", f":{proxy.port}/")
    stores = await asyncio.to_thread(PostgresStores.open, address, patience=SHORT)
    assert await stores.jobs.claim(other.id, "w", later())  # so that the next one has a connection
    answers, asked = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        answers.wait()

    proxy.on_cut = hold
    proxy.cut = Cut.AFTER
    claim = asyncio.ensure_future(stores.jobs.claim(job.id, "w", later()))
    assert await asyncio.to_thread(asked.wait, 60)
    # When that takes far longer than other callers wait, then it is not given up
    await asyncio.wait((claim,), timeout=2 * SHORT.call_s)
    assert not claim.done()
    # And the worker has the job in the end
    answers.set()
    claimed = await claim
    assert claimed is not None and len(claimed.attempts) == 1
    await stores.close()
