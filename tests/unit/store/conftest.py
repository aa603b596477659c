"""The stores in a SQLite file, as fixtures for their suites."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from danqing.store.batch_store import SqlBatchStore
from danqing.store.job_store import SqlJobStore
from danqing.store.sqlite import SqliteStores
from danqing.store.subscriptions import SqlSubscriptions


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "danqing 丹青 100%.db"


@pytest_asyncio.fixture
async def stores(path: Path) -> AsyncIterator[SqliteStores]:
    stores = SqliteStores.open(path)
    yield stores
    await stores.close()


@pytest.fixture
def store(stores: SqliteStores) -> SqlJobStore:
    return stores.jobs


@pytest.fixture
def batches(stores: SqliteStores) -> SqlBatchStore:
    return stores.batches


@pytest.fixture
def subscriptions(stores: SqliteStores) -> SqlSubscriptions:
    return stores.subscriptions
