"""Room for waiting jobs: never more than there is, and counted only when it matters."""

import pytest
from sqlalchemy import Connection

from danqing.core.errors import QueueFull
from danqing.store import queries
from danqing.store.sqlite import SqliteStores
from tests.fakes.domain import LOST, NO_LIMIT, a_job, later


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What was counted, each time."""
    counted: list[int] = []
    count = queries.count_pending

    def noting(connection: Connection) -> int:
        counted.append(count(connection))
        return counted[-1]

    monkeypatch.setattr(queries, "count_pending", noting)
    return counted


async def test_jobs_are_counted_only_where_there_may_be_no_room(stores: SqliteStores, counts: list[int]) -> None:
    # Given room for five
    for _ in range(5):
        await stores.jobs.add(a_job(), 5)
    # Then they were counted once, at the first
    assert counts == [0]
    # When there is room again, it is found out, and no more than there is is taken
    first, second, *_ = await stores.jobs.unfinished()
    for job in (first, second):
        await stores.jobs.claim(job.id, "w1", later())
    await stores.jobs.add(a_job(), 5)
    await stores.jobs.give_back(first.id, 1, LOST, later())
    with pytest.raises(QueueFull):
        await stores.jobs.add(a_job(), 5)
    assert counts == [0, 3, 5]
    # And who may have more, is not held up by it
    await stores.jobs.add(a_job(), NO_LIMIT)
    assert counts == [0, 3, 5]
