"""SqlBatchStore: the contract, and how much it reads at once."""

from collections.abc import Sequence

import pytest
from sqlalchemy import Connection

from danqing.core.ports import BatchStore, JobStore
from danqing.core.types import Job
from danqing.store import batch_rows, loading
from danqing.store.batch_store import SqlBatchStore
from tests.contracts.batch_store import BatchStoreContract
from tests.fakes.domain import NO_LIMIT, a_job


class TestSqlBatchStore(BatchStoreContract):
    implementation = SqlBatchStore


async def test_no_read_takes_more_jobs_than_a_batch_may_have(
    store: JobStore, batches: BatchStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given batches of two, of which a page has more jobs than are read at once
    for name in "abcd":
        await store.add_all([a_job(batch_id=name) for _ in range(2)], NO_LIMIT, batch_sizes=[2] * 2)
    read, readable = list[int](), loading.readable

    def noting(connection: Connection, job_ids: Sequence[str]) -> list[Job]:
        read.append(len(job_ids))
        return readable(connection, job_ids)

    monkeypatch.setattr(batch_rows, "MAX_BATCH_JOBS", 5)
    monkeypatch.setattr(loading, "readable", noting)

    # Then they come in several reads, in their order
    page = await batches.batches(None, limit=3, offset=0)
    assert [batch.id for batch in page] == ["d", "c", "b"]
    assert read == [4, 2]
