"""Nothing of a job that is removed stays, also what the store never knew of. Real store, real files."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from danqing.blobs.local import LEFT_OVER_AFTER_S, LocalArtifactStore
from danqing.blobs.names import PICTURE
from danqing.core.callers import Caller
from danqing.core.errors import JobUnreadable, WorkerLost, WorkerReplaced
from danqing.core.janitor import Janitor, Retention
from danqing.core.keeping import KeptBytes
from danqing.core.picture_names import names_to_remove, picture_name, picture_names
from danqing.core.reconciling import reconcile
from danqing.core.removal import Removal
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.core.taking_over import InputImages
from danqing.core.types import ArtifactKind, Job
from danqing.events.in_process import InProcessEventBus
from danqing.queue.embedded import EmbeddedQueue
from danqing.store.sqlite import SqliteStores
from danqing.workers.failures import describe
from danqing.workers.job_rules import JobRules
from danqing.workers.messages import JobDone, JobGenerated
from danqing.workers.patient_store import PatientStore
from danqing.workers.settlement import Settlement
from tests.fakes.domain import NO_LIMIT, NOW, a_job, an_enlarged, an_original

OLD_INPUT = f"input-{'a' * 64}.png"
LOST = describe(WorkerLost())


class Desk:
    """Of a Studio, what a removal asks of it."""

    def __init__(self, stores: SqliteStores) -> None:
        self._stores = stores

    async def get(self, job_id: str, *, caller: Caller) -> Job:
        return await self._stores.jobs.get(job_id)


class House:
    """A store, its pictures, and whoever makes or removes some. An old picture is there that was sent for no job."""

    def __init__(self, root: Path, stores: SqliteStores) -> None:
        self.now = NOW
        self.stores = stores
        self.outputs = root / "outputs"
        self.artifacts = LocalArtifactStore(self.outputs)
        inputs = InputImages(self.artifacts)
        rules = JobRules(task_timeout_s=60, max_attempts=3)
        self.settlement = Settlement(
            store=stores.jobs,
            patient_store=PatientStore(stores.jobs, rules),
            queue=EmbeddedQueue(),
            events=InProcessEventBus(),
            artifacts=self.artifacts,
            rules=rules,
            clock=self.clock,
        )
        self.removal = Removal(
            studio=cast(Studio, Desk(stores)), kept=stores.kept, artifacts=self.artifacts, inputs=inputs
        )
        self.janitor = Janitor(
            Retention(max_age=timedelta(days=1)),
            kept=stores.kept,
            sizes=KeptBytes(stores.kept, self.artifacts),
            artifacts=self.artifacts,
            inputs=inputs,
        )
        self.artifacts.write(OLD_INPUT, b"picture")
        old = time.time() - LEFT_OVER_AFTER_S - 60
        os.utime(self.outputs / OLD_INPUT, (old, old))

    def clock(self) -> datetime:
        return self.now

    async def claimed(self) -> Job:
        """A job that has just begun."""
        job = await self.stores.jobs.add(a_job(created_at=self.now), NO_LIMIT)
        return await self.claimed_again(job)

    async def claimed_again(self, job: Job) -> Job:
        claimed = await self.stores.jobs.claim(job.id, "w1", self.now)
        assert claimed is not None
        return claimed

    async def lost_while_enlarging(self) -> Job:
        """A job that waits again: the worker has stored its picture, and died."""
        job = await self.claimed()
        self.write(job)
        generated = JobGenerated(job_id=job.id, attempt=1, artifacts=(an_original(job),))
        assert await self.settlement.generated(job, generated) is not None
        waits = await self.settlement.failed(job, LOST, None)
        assert waits is not None and (waits.state, waits.artifacts) == (JobState.PENDING, ())
        assert self.files() == {an_original(job).name, OLD_INPUT}
        return waits

    def write(self, job: Job) -> None:
        self.artifacts.write(an_original(job).name, b"picture")

    def files(self) -> set[str]:
        return {path.name for path in self.outputs.iterdir() if path.is_file()}

    async def is_left_with_nothing(self) -> bool:
        """But for what was sent; and that goes at the next start, which takes no picture for another server's."""
        left = self.files()
        swept = (await reconcile(self.stores.jobs, self.artifacts, self.stores.kept)).swept
        return (left, swept, self.files()) == ({OLD_INPUT}, 1, set())


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    stores = await asyncio.to_thread(SqliteStores.open, tmp_path / "db")
    yield House(tmp_path, stores)
    await stores.close()


def test_all_names_are_such_as_a_sweep_takes_for_the_jobs() -> None:
    job = a_job()
    assert len(picture_names(job.id)) == len(ArtifactKind)
    for kind in ArtifactKind:
        found = PICTURE.fullmatch(picture_name(job.id, kind))
        assert found is not None and found["job_id"] == job.id
    other = replace(an_original(job), name="as an earlier version called it")
    assert names_to_remove(replace(job, artifacts=(other,))) == picture_names(job.id) | {other.name}


async def test_a_picture_of_a_lost_attempt_goes_with_its_job(house: House) -> None:
    # Given a job that was cancelled while it waited again
    job = await house.lost_while_enlarging()
    await house.stores.jobs.cancel(job.id, house.now)
    # When its owner removes it
    await house.removal.remove(job.id)
    # Then
    assert await house.is_left_with_nothing()


async def test_a_picture_of_a_lost_attempt_goes_when_its_job_is_old(house: House) -> None:
    # Given a job that was lost again and again
    job = await house.lost_while_enlarging()
    await house.settlement.failed(await house.claimed_again(job), LOST)
    failed = await house.settlement.failed(await house.claimed_again(job), LOST)
    assert failed is not None and (failed.state, failed.artifacts) == (JobState.FAILED, ())
    house.now += timedelta(days=2)
    # When the janitor comes
    assert (await house.janitor.sweep()).jobs == 1
    # Then
    assert await house.is_left_with_nothing()


@pytest.mark.parametrize("told", ["done", "generated", "stopped", "lost", "told late", "lost late"])
async def test_a_picture_that_comes_once_its_job_is_gone_goes_too(house: House, told: str) -> None:
    # Given a job that is cancelled and removed while its worker writes
    job = await house.claimed()
    await house.stores.jobs.cancel(job.id, house.now)
    await house.removal.remove(job.id)
    house.write(job)
    # When the worker says so, or dies
    pictures = (an_original(job),)
    match told:
        case "done":
            done = JobDone(job_id=job.id, attempt=1, artifacts=pictures, denoise_s=0, finish_s=0, upscale_s=0)
            assert await house.settlement.done(job, done) is None
        case "generated":
            news = JobGenerated(job_id=job.id, attempt=1, artifacts=pictures)
            assert await house.settlement.generated(job, news) is None
        case "stopped":
            assert await house.settlement.failed(job, describe(WorkerReplaced()), pictures) is None
        case "lost":
            assert await house.settlement.failed(job, LOST, None) is None
        case _:
            await house.settlement.discard(job.id, pictures if told == "told late" else None)
    # Then
    assert await house.is_left_with_nothing()


async def test_what_nobody_told_of_goes_only_where_no_attempt_can_be_writing_it(house: House) -> None:
    # Given a job whose first attempt was lost, and whose second one has its picture stored
    job = await house.lost_while_enlarging()
    again = await house.claimed_again(job)
    # When the first is settled once more, then nothing goes
    assert await house.settlement.failed(replace(again, attempts=again.attempts[:1]), LOST, None) is None
    assert house.files() == {an_original(job).name, OLD_INPUT}
    # When the second has failed with the picture, then that is left, and what came beside it goes
    await house.stores.jobs.generate(job.id, 2, [an_original(job)], ())
    house.artifacts.write(an_enlarged(job).name, b"picture")
    await house.stores.jobs.fail(job.id, 2, LOST, house.now)
    await house.settlement.discard(job.id, None)
    assert house.files() == {an_original(job).name, OLD_INPUT}


async def test_a_job_that_a_newer_version_can_read_keeps_its_pictures(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await house.claimed()
    house.write(job)

    async def unreadable(*_: Any) -> Job:  # noqa: ANN401 - whatever is asked
        raise JobUnreadable

    monkeypatch.setattr(house.stores.jobs, "get", unreadable)
    await house.settlement.discard(job.id, (an_original(job),))
    assert house.files() == {an_original(job).name, OLD_INPUT}
