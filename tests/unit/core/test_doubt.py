"""A store that goes away as it is told something: what it wrote down all the same has its consequences."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.core.doubt import Doubts
from danqing.core.errors import JobNotFound, StorageAway, StorageInDoubt
from danqing.core.images import StagedImage, ref_of
from danqing.core.orders import Limits, Order
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.core.submitting import Join, SubmitKey
from danqing.core.types import Job, Mode, RequestDraft
from danqing.events.in_process import InProcessEventBus
from tests.fakes.domain import NOW, a_card, a_job, later
from tests.fakes.job_store import InMemoryJobStore
from tests.fakes.studio_parts import FixedCatalogue, RecordingQueue, StillPool

WAIT_S = 20.0
KEY = SubmitKey(text="a key", digest="0" * 64)
DRAFT = RequestDraft(prompt="pizza", seed=1)
CARD = a_card(capabilities=replace(a_card().capabilities, modes=frozenset({Mode.TEXT2IMG, Mode.IMG2IMG})))


class VanishingStore(InMemoryJobStore):
    """Once `vanishes`, it does the next thing that it is told, or does it `late_s` later, and does not answer; then it
    is `away` for so many questions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.vanishes = False
        self.late_s = 0.0
        self.away = self._still_away = 0

    async def add_all(self, jobs: Sequence[Job], max_pending: int, **terms: Any) -> list[Job]:  # noqa: ANN401 - passed on
        add = super().add_all
        return await self._perhaps(lambda: add(jobs, max_pending, **terms))

    async def cancel(self, job_id: str, now: datetime) -> Job | None:
        cancel = super().cancel
        return await self._perhaps(lambda: cancel(job_id, now))

    async def get(self, job_id: str) -> Job:
        if self._still_away:
            self._still_away -= 1
            raise StorageAway
        return await super().get(job_id)

    async def _perhaps(self, do: Callable[[], Any]) -> Any:  # noqa: ANN401
        if not self.vanishes:
            return await do()
        self.vanishes, self._still_away = False, self.away

        async def late() -> None:
            await asyncio.sleep(self.late_s)
            await do()

        self.writing = asyncio.create_task(late())
        if not self.late_s:
            await self.writing
        raise StorageInDoubt


class House:
    """A Studio over such a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store, self.queue, self.pool = VanishingStore(), RecordingQueue(), StillPool()
        self.events = InProcessEventBus()
        self.outputs = LocalArtifactStore(folder / "outputs")
        self.studio = Studio(
            store=self.store,
            queue=self.queue,
            pool=self.pool,
            events=self.events,
            catalogue=FixedCatalogue(CARD),
            artifacts=self.outputs,
            limits=Limits(max_queue_size=3),
            clock=lambda: NOW,
            doubts=Doubts(self.store, first_pause_s=0.01, longest_pause_s=0.02, late_s=0.5),
        )

    async def submit(self, draft: RequestDraft = DRAFT, *, join: Join = Join.NONE, key: SubmitKey | None = None) -> Job:
        return await self.studio.submit(Order(draft=draft, join=join), key=key)

    def staged(self) -> StagedImage:
        path = self.folder / "staged"
        path.write_bytes(b"a picture")
        return StagedImage(path=path, sha256="5" * 64, width=8, height=8)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def until(so: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not so():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("late_s", [0.0, 0.1], ids=["at once", "later"])
@pytest.mark.parametrize("key", [None, KEY], ids=["no key", "a key"])
async def test_a_job_that_was_stored_after_all_is_made(house: House, key: SubmitKey | None, late_s: float) -> None:
    # Given a store that goes away for a while as a job with a picture is stored, and stores it all the same
    house.store.vanishes, house.store.late_s, house.store.away = True, late_s, 3
    image = house.staged()
    draft = replace(DRAFT, mode=Mode.IMG2IMG, input_images=(image,), strength=0.5)
    with pytest.raises(StorageInDoubt):
        await house.submit(draft, key=key)
    # Then it waits for a worker once that is known, and has its picture
    await until(lambda: bool(house.queue.ids))
    (job_id,) = house.queue.ids
    assert (await house.store.get(job_id)).state is JobState.PENDING
    assert house.outputs.size(ref_of(image).name) == 9
    # And who asks again under its key, or for an equal one, is given this one
    again = await house.submit(draft, key=key, join=Join.UNDER_WAY)
    assert again.id == job_id
    assert house.queue.ids == [job_id]


async def test_one_that_was_not_stored_is_asked_for_no_longer_than_it_may_come(house: House) -> None:
    house.store.vanishes, house.store.late_s = True, 60.0
    with pytest.raises(StorageInDoubt):
        await house.submit()
    asking = [task for task in asyncio.all_tasks() if task.get_name() == "doubt"]
    assert len(asking) == 1
    async with asyncio.timeout(WAIT_S):
        await asyncio.wait(asking)
    assert house.queue.ids == []
    house.store.writing.cancel()


async def test_a_cancel_that_was_stored_after_all_reaches_workers_and_watchers(house: House) -> None:
    # Given a job that somebody watches, and a cancel of which nobody knows what became
    job = await house.submit()
    watching = asyncio.create_task(house.studio.wait(job.id))
    await asyncio.sleep(0)
    house.store.vanishes, house.store.away = True, 2
    with pytest.raises(StorageInDoubt):
        await house.studio.cancel(job.id)
    # Then all hear of it
    async with asyncio.timeout(WAIT_S):
        assert (await watching).state is JobState.CANCELLED
    assert house.queue.ids == []
    assert house.pool.stopped == [job.id]


async def test_what_becomes_of_it_otherwise_is_not_taken_for_it(house: House) -> None:
    # Given a job that is cancelled at another moment, and one that is not there
    job = await house.store.add(a_job(), 10)
    at = later()
    await house.store.cancel(job.id, at)
    seen: list[datetime | None] = []

    async def is_it(found: Job) -> bool:
        seen.append(found.finished_at)
        return found.finished_at == at + timedelta(seconds=1)

    Doubts(house.store, first_pause_s=0.01, longest_pause_s=0.01, late_s=0.05).look_into([job.id, "none"], is_it)
    await until(lambda: len(seen) == 5)
    await asyncio.sleep(0.05)
    assert seen == [at] * 5
    with pytest.raises(JobNotFound):
        await house.store.get("none")
