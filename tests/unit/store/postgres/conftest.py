"""The stores in a PostgreSQL database of the test's own, as fixtures for their suites."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from danqing.store.batch_store import SqlBatchStore
from danqing.store.issued_keys import SqlIssuedKeys
from danqing.store.job_line import PostgresJobLine
from danqing.store.job_store import SqlJobStore
from danqing.store.kept_jobs import SqlKeptJobs
from danqing.store.nodes import PostgresNodes
from danqing.store.postgres import PostgresStores
from danqing.store.subscriptions import SqlSubscriptions
from tests.services.postgres import running_postgres


@pytest.fixture
def url() -> Iterator[str]:
    server = running_postgres()
    url = server.new_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def empty() -> Iterator[str]:
    """The URL of a database with nothing in it."""
    server = running_postgres()
    url = server.new_database(migrated=False)
    yield url
    server.drop_database(url)


@pytest_asyncio.fixture
async def stores(url: str) -> AsyncIterator[PostgresStores]:
    stores = PostgresStores.open(url)
    yield stores
    await stores.close()


@pytest.fixture
def store(stores: PostgresStores) -> SqlJobStore:
    return stores.jobs


@pytest.fixture
def batches(stores: PostgresStores) -> SqlBatchStore:
    return stores.batches


@pytest.fixture
def subscriptions(stores: PostgresStores) -> SqlSubscriptions:
    return stores.subscriptions


@pytest.fixture
def kept(stores: PostgresStores) -> SqlKeptJobs:
    return stores.kept


@pytest.fixture
def keys(stores: PostgresStores) -> SqlIssuedKeys:
    return stores.issued_keys


@pytest.fixture
def line(stores: PostgresStores) -> PostgresJobLine:
    return stores.line


@pytest.fixture
def nodes(stores: PostgresStores) -> PostgresNodes:
    return stores.nodes
