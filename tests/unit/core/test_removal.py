"""A job is removed for good: its files first, then its row. Real store, real files."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.core.callers import Caller
from danqing.core.errors import JobNotFound, StorageFailure
from danqing.core.removal import Removal
from danqing.core.studio import Studio
from danqing.core.taking_over import InputImages
from danqing.core.types import ArtifactKind, Job
from danqing.store.sqlite import SqliteStores
from tests.fakes.domain import NO_LIMIT, NOW, a_job, an_original


class Desk:
    """Of a Studio, what a removal asks of it."""

    def __init__(self, stores: SqliteStores) -> None:
        self._stores = stores

    async def get(self, job_id: str, *, caller: Caller) -> Job:
        return await self._stores.jobs.get(job_id)


class Place:
    """A store with one job that is done, and its two pictures."""

    def __init__(self, root: Path, stores: SqliteStores) -> None:
        self.stores = stores
        self.artifacts = LocalArtifactStore(root / "outputs")
        self.removal = Removal(
            studio=cast(Studio, Desk(stores)),
            kept=stores.kept,
            artifacts=self.artifacts,
            inputs=InputImages(self.artifacts),
        )

    async def fill(self) -> None:
        job = await self.stores.jobs.add(a_job(created_at=NOW), NO_LIMIT)
        await self.stores.jobs.claim(job.id, "w", NOW)
        original = an_original(job)
        other = replace(original, kind=ArtifactKind.UPSCALED, name=f"{job.id}_upscaled.png")
        for artifact in (original, other):
            self.artifacts.write(artifact.name, b"picture")
        completed = await self.stores.jobs.complete(job.id, 1, [original, other], (), NOW)
        assert completed is not None
        self.job = completed

    async def has_row(self) -> bool:
        try:
            await self.stores.jobs.get(self.job.id)
        except JobNotFound:
            return False
        return True


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    stores = await asyncio.to_thread(SqliteStores.open, tmp_path / "db")
    place = Place(tmp_path, stores)
    await place.fill()
    yield place
    await stores.close()


async def test_pictures_are_gone_for_good_before_the_row(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, synced = asyncio.get_running_loop(), list[tuple[int, bool]]()

    def sync(folder: Path) -> None:
        has_row = asyncio.run_coroutine_threadsafe(place.has_row(), loop).result(60)  # so it is another thread
        synced.append((len(list(folder.iterdir())), has_row))

    monkeypatch.setattr("danqing.blobs.local.sync_directory", sync)

    await place.removal.remove(place.job.id)

    assert synced == [(0, True)]
    assert not await place.has_row()


async def test_a_job_whose_pictures_may_come_back_stays(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("danqing.blobs.local.sync_directory", failing)
        with pytest.raises(StorageFailure):
            await place.removal.remove(place.job.id)
    assert await place.has_row()

    await place.removal.remove(place.job.id)
    assert not await place.has_row()
