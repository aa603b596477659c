"""The index of the history on PostgreSQL: the contract, and that it waits for jobs that are still to come."""

import pytest
from sqlalchemy import text

from danqing.store.postgres import PostgresStores
from danqing.store.settled import SURE_AFTER_S, SettledAmongMany
from tests.contracts.history_index import HistoryIndexContract, SkipTo
from tests.fakes.domain import NO_LIMIT, a_job
from tests.unit.store.postgres.asking import ask


@pytest.fixture
def skip_to(url: str) -> SkipTo:
    async def skip(sequence: int) -> None:
        ask(url, "SELECT setval(pg_get_serial_sequence('jobs', 'sequence'), %s, false)", sequence)

    return skip


class TestPostgresHistoryIndex(HistoryIndexContract):
    pass


async def test_what_may_still_come_is_waited_for(stores: PostgresStores) -> None:
    # Given a clock, and somebody who writes and has not committed yet
    now = 1000.0
    settled = SettledAmongMany(stores.database, clock=lambda: now)
    with stores.database.engine.connect() as writer:
        writer.execute(text("DELETE FROM jobs WHERE id = 'nobody'"))
        writer.execute(text("SELECT pg_current_xact_id()"))
        job = await stores.jobs.add(a_job(), NO_LIMIT)
        # When enough time has passed, then nothing is settled as long as that goes on
        assert await settled() == 0
        now += SURE_AFTER_S
        assert await settled() == 0
    # And what was there at the first look is once it has ended
    await stores.jobs.add(a_job(), NO_LIMIT)
    assert await settled() == job.sequence + 1
    # But not sooner than that
    now += SURE_AFTER_S - 1
    assert await settled() == job.sequence + 1
    now += 1
    assert await settled() == job.sequence + 2
