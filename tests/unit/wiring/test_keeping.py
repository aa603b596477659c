"""What is set about keeping is done while the server runs. Real store, real files."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.config import Settings
from danqing.core.clock import utc_now
from danqing.core.errors import JobNotFound, QuotaExceeded
from danqing.core.types import Job
from danqing.store.postgres import PostgresStores
from danqing.store.sqlite import SqliteStores
from danqing.wiring.keeping import keeping_of
from tests.fakes.domain import NO_LIMIT, a_job, an_original
from tests.services.postgres import running_postgres

DEADLINE_S = 60


async def an_old_job(stores: SqliteStores | PostgresStores, artifacts: LocalArtifactStore, *, days: float = 2) -> Job:
    """Completed so long ago."""
    then = utc_now() - timedelta(days=days)
    job = await stores.jobs.add(a_job(created_at=then), NO_LIMIT)
    await stores.jobs.claim(job.id, "w", then)
    artifacts.write(f"{job.id}.png", b"picture")
    completed = await stores.jobs.complete(job.id, 1, [replace(an_original(job), size_bytes=7)], (), then)
    assert completed is not None
    return completed


async def test_the_janitor_sweeps_while_the_server_runs(tmp_path: Path) -> None:
    stores = await asyncio.to_thread(SqliteStores.open, tmp_path / "db")
    artifacts = LocalArtifactStore(tmp_path / "outputs")
    job = await an_old_job(stores, artifacts)

    keeping = keeping_of(Settings(retention_days=1), kept=stores.kept, artifacts=artifacts)
    async with asyncio.timeout(DEADLINE_S), keeping.at_work():
        with pytest.raises(JobNotFound):
            while True:
                await stores.jobs.get(job.id)
                await asyncio.sleep(0.01)
    assert not (tmp_path / "outputs" / f"{job.id}.png").exists()
    await stores.close()


@pytest.fixture
def url() -> Iterator[str]:
    server = running_postgres()
    url = server.new_database()
    yield url
    server.drop_database(url)


async def test_a_machine_whose_clock_is_wrong_removes_nothing_that_others_keep(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a PostgreSQL that many share, with a job that is to go and one that is not
    stores = await asyncio.to_thread(PostgresStores.open, url)
    artifacts = LocalArtifactStore(tmp_path)
    old, young = await an_old_job(stores, artifacts, days=31), await an_old_job(stores, artifacts)
    # When it is swept from a machine that is a month ahead
    monkeypatch.setattr("danqing.wiring.keeping.utc_now", lambda: utc_now() + timedelta(days=31))
    keeping = keeping_of(Settings(retention_days=30, retention_gb=1), kept=stores.kept, artifacts=artifacts)
    # Then only what is old by PostgreSQL's clock is gone
    assert (await keeping.janitor.sweep()).jobs == 1
    assert await stores.jobs.get(young.id) == young
    with pytest.raises(JobNotFound):
        await stores.jobs.get(old.id)
    await stores.close()


async def test_what_was_accepted_before_the_start_counts(tmp_path: Path) -> None:
    stores = await asyncio.to_thread(SqliteStores.open, tmp_path / "db")
    job = await stores.jobs.add(a_job(owner="ann", created_at=utc_now() - timedelta(hours=1)), NO_LIMIT)

    settings = Settings.model_validate({"daily_pictures": 1, "api_key": "k"})
    keeping = keeping_of(settings, kept=stores.kept, artifacts=LocalArtifactStore(tmp_path))
    async with keeping.at_work():
        with pytest.raises(QuotaExceeded):
            async with keeping.admission.of([job]):
                pass
        async with keeping.admission.of([replace(job, owner="bob")]) as admitted:
            admitted.keep([job])
    await stores.close()
