"""The stores that other tests use instead of the real ones keep the same contracts."""

import pytest

from tests.contracts.batch_store import BatchStoreContract
from tests.contracts.job_line import JobLineContract
from tests.contracts.job_store import JobStoreContract
from tests.contracts.nodes import NodesContract
from tests.contracts.subscriptions import SubscriptionsContract
from tests.fakes.job_store import InMemoryBatchStore, InMemoryJobStore, InMemorySubscriptions
from tests.fakes.shared_store import InMemoryJobLine, InMemoryNodes


@pytest.fixture
def store() -> InMemoryJobStore:
    return InMemoryJobStore()


@pytest.fixture
def batches(store: InMemoryJobStore) -> InMemoryBatchStore:
    return InMemoryBatchStore(store)


@pytest.fixture
def subscriptions(store: InMemoryJobStore) -> InMemorySubscriptions:
    return InMemorySubscriptions(store)


@pytest.fixture
def line(store: InMemoryJobStore) -> InMemoryJobLine:
    return InMemoryJobLine(store)


@pytest.fixture
def nodes(store: InMemoryJobStore) -> InMemoryNodes:
    return InMemoryNodes(store)


class TestInMemoryJobStore(JobStoreContract):
    implementation = InMemoryJobStore


class TestInMemoryBatchStore(BatchStoreContract):
    implementation = InMemoryBatchStore


class TestInMemorySubscriptions(SubscriptionsContract):
    implementation = InMemorySubscriptions


class TestInMemoryJobLine(JobLineContract):
    implementation = InMemoryJobLine


class TestInMemoryNodes(NodesContract):
    implementation = InMemoryNodes
