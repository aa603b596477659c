"""The stores that other tests use instead of the real ones keep the same contracts."""

import pytest

from tests.contracts.batch_store import BatchStoreContract
from tests.contracts.job_store import JobStoreContract
from tests.contracts.subscriptions import SubscriptionsContract
from tests.fakes.job_store import InMemoryBatchStore, InMemoryJobStore, InMemorySubscriptions


@pytest.fixture
def store() -> InMemoryJobStore:
    return InMemoryJobStore()


@pytest.fixture
def batches(store: InMemoryJobStore) -> InMemoryBatchStore:
    return InMemoryBatchStore(store)


@pytest.fixture
def subscriptions(store: InMemoryJobStore) -> InMemorySubscriptions:
    return InMemorySubscriptions(store)


class TestInMemoryJobStore(JobStoreContract):
    implementation = InMemoryJobStore


class TestInMemoryBatchStore(BatchStoreContract):
    implementation = InMemoryBatchStore


class TestInMemorySubscriptions(SubscriptionsContract):
    implementation = InMemorySubscriptions
