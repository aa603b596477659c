"""The stores over PostgreSQL keep the contracts that those over SQLite keep. Each run says what it is on."""

import pytest

from danqing.store.batch_store import SqlBatchStore
from danqing.store.issued_keys import SqlIssuedKeys
from danqing.store.job_line import PostgresJobLine
from danqing.store.job_store import SqlJobStore
from danqing.store.kept_jobs import SqlKeptJobs
from danqing.store.nodes import PostgresNodes
from danqing.store.postgres import PostgresStores
from danqing.store.postgres_database import PostgresDatabase
from danqing.store.subscriptions import SqlSubscriptions
from tests.contracts.batch_store import BatchStoreContract
from tests.contracts.issued_keys import IssuedKeysContract
from tests.contracts.job_line import JobLineContract
from tests.contracts.job_store import JobStoreContract
from tests.contracts.kept_jobs import KeptJobsContract
from tests.contracts.nodes import NodesContract
from tests.contracts.subscriptions import SubscriptionsContract


@pytest.fixture(autouse=True)
def _is_on_postgres(stores: PostgresStores) -> None:
    assert type(stores.database) is PostgresDatabase
    assert stores.database.engine.dialect.name == "postgresql"


class TestPostgresJobStore(JobStoreContract):
    implementation = SqlJobStore


class TestPostgresBatchStore(BatchStoreContract):
    implementation = SqlBatchStore


class TestPostgresSubscriptions(SubscriptionsContract):
    implementation = SqlSubscriptions


class TestPostgresJobLine(JobLineContract):
    implementation = PostgresJobLine


class TestPostgresNodes(NodesContract):
    implementation = PostgresNodes


class TestPostgresKeptJobs(KeptJobsContract):
    implementation = SqlKeptJobs


class TestPostgresIssuedKeys(IssuedKeysContract):
    implementation = SqlIssuedKeys
