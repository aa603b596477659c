"""SqlKeptJobs over SQLite: the contract."""

import pytest

from danqing.store.kept_jobs import SqlKeptJobs
from danqing.store.sqlite import SqliteStores
from tests.contracts.kept_jobs import KeptJobsContract


@pytest.fixture
def kept(stores: SqliteStores) -> SqlKeptJobs:
    return stores.kept


class TestSqlKeptJobs(KeptJobsContract):
    implementation = SqlKeptJobs
