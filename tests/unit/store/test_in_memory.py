"""The store that other tests use instead of the real one keeps the same contract."""

import pytest

from tests.contracts.job_store import JobStoreContract
from tests.fakes.job_store import InMemoryJobStore


@pytest.fixture
def store() -> InMemoryJobStore:
    return InMemoryJobStore()


class TestInMemoryJobStore(JobStoreContract):
    implementation = InMemoryJobStore
