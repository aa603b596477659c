"""The use cases, over a store in memory, the real event bus, and a queue and a pool that only remember."""

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from danqing.blobs.local import LocalArtifactStore
from danqing.core.batches import BatchPlace
from danqing.core.callers import LOCAL, Caller
from danqing.core.errors import (
    InvalidRequest,
    JobNotCancellable,
    JobNotFound,
    ModelNotReady,
    NotSupported,
    ParameterOutOfRange,
    QueueFull,
    ShuttingDown,
    StorageFailure,
    SubmitKeyReused,
    TooManyJobs,
    UnknownModel,
)
from danqing.core.events import Event, ProgressMade, StateChanged
from danqing.core.fingerprint import fingerprint
from danqing.core.images import StagedImage, ref_of
from danqing.core.orders import Limits, Order
from danqing.core.pace import Pace
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.core.submitting import Join, SubmitKey
from danqing.core.types import Job, Lora, Mode, Progress, RequestDraft, Stage, WorkerState
from danqing.events.in_process import InProcessEventBus
from tests.fakes.domain import LOST, NOW, a_card, an_original, later
from tests.fakes.job_store import InMemoryJobStore, InMemoryKeptJobs
from tests.fakes.studio_parts import FixedCatalogue, RecordingQueue, StillPool

DRAFT = RequestDraft(prompt="pizza", seed=1)
WAITED_FOR = Order(draft=DRAFT, join=Join.UNDER_WAY, attended=True)
KEY = SubmitKey(text="a key", digest="0" * 64)
A, B = Caller(owner="a"), Caller(owner="b")
CARD = a_card(capabilities=replace(a_card().capabilities, modes=frozenset({Mode.TEXT2IMG, Mode.IMG2IMG})))


class HeldStore(InMemoryJobStore):
    """Its `add` waits until it is let go on; with `failing` it then fails. Stored, it waits to be `answered`."""

    def __init__(self) -> None:
        super().__init__()
        self.adding = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.answered = asyncio.Event()
        self.answered.set()
        self.failing = False

    async def add_all(self, jobs: Sequence[Job], max_pending: int, **terms: Any) -> list[Job]:  # noqa: ANN401 - passed on
        self.adding.set()
        await self.go_on.wait()
        if self.failing:
            raise StorageFailure
        added = await super().add_all(jobs, max_pending, **terms)
        await self.answered.wait()
        return added


@dataclass
class House:
    """A Studio and its parts."""

    root: Path
    store: HeldStore = field(default_factory=HeldStore)
    queue: RecordingQueue = field(default_factory=RecordingQueue)
    pool: StillPool = field(default_factory=StillPool)
    events: InProcessEventBus = field(default_factory=InProcessEventBus)
    catalogue: FixedCatalogue = field(default_factory=lambda: FixedCatalogue(CARD, a_card(id="other")))

    def __post_init__(self) -> None:
        self.pace = Pace()
        self.studio = self.made_studio(Limits(max_queue_size=3))

    def made_studio(self, limits: Limits) -> Studio:
        """Over these parts."""
        return Studio(
            store=self.store,
            queue=self.queue,
            pool=self.pool,
            events=self.events,
            catalogue=self.catalogue,
            artifacts=LocalArtifactStore(self.root / "outputs"),
            limits=limits,
            pace=self.pace,
            clock=lambda: NOW,
        )

    async def submit(
        self,
        draft: RequestDraft,
        *,
        caller: Caller = LOCAL,
        priority: int = 0,
        join: Join = Join.NONE,
        batch: BatchPlace | None = None,
        waits_for_model: bool = False,
    ) -> Job:
        order = Order(draft=draft, priority=priority, join=join, batch=batch, waits_for_model=waits_for_model)
        return await self.studio.submit(order, caller=caller)

    def staged(self, *, width: int = 8, height: int = 8) -> StagedImage:
        """A picture as the intake leaves it, each time another one."""
        path = self.root / f"staged-{secrets.token_hex(4)}"
        path.write_bytes(path.name.encode())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return StagedImage(path=path, sha256=digest, width=width, height=height)

    async def take(self, job: Job) -> Job:
        """What a dispatcher does when a worker takes the job."""
        return self.tell(await self.store.claim(job.id, "w1", later()))

    async def finish(self, job: Job) -> Job:
        """What a dispatcher does when the picture is stored."""
        return self.tell(await self.store.complete(job.id, len(job.attempts), [an_original(job)], [], later()))

    def tell(self, job: Job | None) -> Job:
        assert job is not None
        self.events.publish(StateChanged(job=job))
        return job


@pytest.fixture
async def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def collected(house: House, job: Job) -> list[Event]:
    async with house.studio.watch(job.id) as events:
        return [event async for event in events]


# Submit


async def test_a_submitted_job_is_stored_queued_and_complete(house: House) -> None:
    job = await house.submit(DRAFT, priority=2)
    assert await house.store.get(job.id) == job
    assert house.queue.ids == [job.id]
    assert (job.state, job.owner, job.created_at, job.priority) == (JobState.PENDING, "local", NOW, 2)
    assert (job.request.model, job.request.width, job.request.seed) == ("tiny", 1024, 1)
    assert job.fingerprint == fingerprint(job.request)
    assert job.adjustments == ("made at 128x128 and enlarged by Real-ESRGAN to 1024x1024",)


async def test_a_job_is_offered_while_it_is_stored_and_told_what_became_of_it(house: House) -> None:
    # Given somebody who waits for work
    house.queue.takes_offers = True
    house.store.go_on.clear()
    # When a job comes, then it is offered before it is stored, and published once it is
    submit = asyncio.create_task(house.submit(DRAFT, join=Join.UNDER_WAY))
    await house.store.adding.wait()
    assert len(house.queue.offered) == 1
    assert house.queue.ids == []
    house.store.go_on.set()
    job = await submit
    assert house.queue.offered == house.queue.ids == [job.id]
    # And an equal one, one that is refused, and one that cannot be stored, are withdrawn
    assert await house.submit(DRAFT, join=Join.UNDER_WAY) == job
    house.store.failing = True
    with pytest.raises(StorageFailure):
        await house.submit(DRAFT)
    house.store.failing = False
    house.studio = house.made_studio(Limits(max_queue_size=1))
    with pytest.raises(QueueFull):
        await house.submit(DRAFT)
    assert len(house.queue.offered) == 4
    assert house.queue.withdrawn == house.queue.offered[1:]
    assert house.queue.ids == [job.id]


async def test_jobs_that_come_together_are_not_torn_apart(house: House) -> None:
    house.queue.takes_offers = True
    jobs = await house.studio.submit_all([Order(draft=DRAFT), Order(draft=DRAFT)])
    assert house.queue.offered == []
    assert house.queue.ids == [job.id for job in jobs]


async def test_a_size_that_the_model_makes_is_no_adjustment(house: House) -> None:
    job = await house.submit(replace(DRAFT, width=160, height=96))
    assert job.adjustments == ()


async def test_a_model_can_be_named(house: House) -> None:
    assert (await house.submit(replace(DRAFT, model="other"))).request.model == "other"
    with pytest.raises(UnknownModel):
        await house.submit(replace(DRAFT, model="nobody's"))


async def test_an_invalid_draft_leaves_no_trace(house: House) -> None:
    with pytest.raises(InvalidRequest):
        await house.submit(RequestDraft(prompt=""))
    assert await house.store.unfinished() == []
    assert house.queue.ids == []


async def test_submit_waits_for_a_model_and_for_no_restart(house: House) -> None:
    house.pool.state = WorkerState.STARTING
    with pytest.raises(ModelNotReady):
        await house.submit(DRAFT)
    house.pool.state = WorkerState.RESTARTING
    assert await house.submit(DRAFT)


async def test_who_waits_for_the_model_is_taken_before_it_is_loaded(house: House) -> None:
    house.pool.state = WorkerState.STARTING
    assert (await house.submit(DRAFT, waits_for_model=True)).state is JobState.PENDING
    # But not when it does not load
    house.pool.state = WorkerState.BROKEN
    with pytest.raises(ModelNotReady):
        await house.submit(replace(DRAFT, seed=2), waits_for_model=True)


async def test_a_full_queue_takes_no_more_until_one_is_taken(house: House) -> None:
    jobs = [await house.submit(DRAFT) for _ in range(3)]
    with pytest.raises(QueueFull):
        await house.submit(DRAFT)
    await house.take(jobs[0])
    assert await house.submit(DRAFT)


async def test_the_limit_holds_for_submits_at_once(house: House) -> None:
    # Given ten submits that all come before the store has answered one
    house.store.go_on.clear()
    submits = [asyncio.ensure_future(house.submit(DRAFT)) for _ in range(10)]
    await asyncio.sleep(0)
    house.store.go_on.set()
    # When they are answered
    answers = await asyncio.gather(*submits, return_exceptions=True)
    # Then three were taken
    assert sum(isinstance(answer, Job) for answer in answers) == 3
    assert sum(isinstance(answer, QueueFull) for answer in answers) == 7


async def test_a_job_that_is_stored_and_not_answered_yet_takes_one_place(house: House) -> None:
    # Given submits one after the other, each stored, and counted by the store, before the one ahead is answered
    house.store.answered.clear()
    submits: list[asyncio.Future[Job]] = []
    for number in range(1, 4):
        submits.append(asyncio.ensure_future(house.submit(DRAFT)))
        for _ in range(10):  # as far as it can come
            await asyncio.sleep(0)
        assert (await house.store.counts())[JobState.PENDING] == number
    house.store.answered.set()
    # Then every place was given away
    assert len({job.id for job in await asyncio.gather(*submits)}) == 3


async def test_a_failed_add_frees_its_place(house: House) -> None:
    house.store.failing = True
    for _ in range(5):
        with pytest.raises(StorageFailure):
            await house.submit(DRAFT)
    house.store.failing = False
    jobs = [await house.submit(DRAFT) for _ in range(3)]
    assert house.queue.ids == [job.id for job in jobs]


async def test_a_client_that_hangs_up_leaves_no_job_out_of_the_queue(house: House) -> None:
    # Given a submit that is cancelled while its job is being stored
    house.store.go_on.clear()
    submit = asyncio.ensure_future(house.submit(DRAFT))
    await asyncio.wait_for(house.store.adding.wait(), 5)
    submit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submit
    # When the store goes on
    house.store.go_on.set()
    await asyncio.wait_for(asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}), 5)
    # Then the job is stored, and queued as well
    assert len(house.queue.ids) == 1
    assert house.queue.ids == [job.id for job in await house.store.unfinished()]


async def test_after_the_end_was_announced_no_job_is_taken(house: House) -> None:
    house.studio.stop_accepting()
    with pytest.raises(ShuttingDown):
        await house.submit(DRAFT)


async def test_an_equal_request_is_joined_when_asked_for(house: House) -> None:
    first = await house.submit(DRAFT, join=Join.ALSO_DONE)
    assert await house.submit(DRAFT, join=Join.ALSO_DONE) == first
    assert (await house.submit(DRAFT)).id != first.id
    assert (await house.submit(replace(DRAFT, seed=2), join=Join.ALSO_DONE)).id != first.id


async def test_an_equal_request_is_joined_while_the_model_loads(house: House) -> None:
    # Given a job that is done
    done = await house.finish(await house.take(await house.submit(DRAFT)))
    # When the server loads its model
    house.pool.state = WorkerState.STARTING
    # Then an equal request is answered with it, and another one is refused
    assert await house.submit(DRAFT, join=Join.ALSO_DONE) == done
    with pytest.raises(ModelNotReady):
        await house.submit(replace(DRAFT, seed=2), join=Join.ALSO_DONE)


@pytest.mark.parametrize("staged", [False, True])
async def test_who_joins_a_waiting_job_with_a_higher_priority_moves_it_up(house: House, staged: bool) -> None:
    def draft() -> RequestDraft:
        if not staged:
            return DRAFT
        return replace(DRAFT, mode=Mode.IMG2IMG, strength=0.5, input_images=(picture,))

    picture = house.staged()
    first = await house.submit(draft(), join=Join.UNDER_WAY, priority=1)
    async with house.studio.watch(first.id) as events:
        # When an equal request comes that is less urgent, then nothing becomes of it
        assert await house.submit(draft(), join=Join.UNDER_WAY) == first
        # And a more urgent one moves the job up, of which its watchers hear nothing
        moved = await house.submit(draft(), join=Join.UNDER_WAY, priority=4)
        assert moved == await house.store.get(first.id)
        assert (moved.id, moved.priority) == (first.id, 4)
        assert house.queue.moved_up == [moved]
        await house.finish(await house.take(moved))
        told = [event.job.state async for event in events if isinstance(event, StateChanged)]
    assert told == [JobState.PENDING, JobState.PROCESSING, JobState.COMPLETED]


async def test_who_joins_a_job_that_cannot_be_moved_up_just_now_has_it_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(job: Job, priority: int) -> Job | None:
        raise StorageFailure

    waiting = await house.submit(DRAFT)
    monkeypatch.setattr(house.store, "move_up", fails)
    assert await house.submit(DRAFT, join=Join.UNDER_WAY, priority=4) == waiting
    assert house.queue.moved_up == []


async def test_who_joins_a_running_job_leaves_it_as_it_is(house: House) -> None:
    running = await house.take(await house.submit(DRAFT))
    assert await house.submit(DRAFT, join=Join.UNDER_WAY, priority=4) == running
    assert house.queue.moved_up == []


async def test_equal_requests_at_once_become_one_job(house: House) -> None:
    # Given two equal requests of which neither is stored when the other looks
    house.store.go_on.clear()
    submits = [asyncio.create_task(house.submit(DRAFT, join=Join.ALSO_DONE)) for _ in range(2)]
    for _ in range(10):  # as far as they can come
        await asyncio.sleep(0)
    # When both are stored
    house.store.go_on.set()
    first, second = await asyncio.gather(*submits)
    # Then there is one job, queued once
    assert first == second
    assert house.queue.ids == [first.id]


async def test_a_joined_job_needs_no_place_in_the_queue(house: House) -> None:
    jobs = [await house.submit(replace(DRAFT, seed=seed)) for seed in range(3)]
    assert await house.submit(replace(DRAFT, seed=2), join=Join.ALSO_DONE) == jobs[2]


async def test_nobody_joins_the_job_of_another_owner(house: House) -> None:
    first = await house.submit(DRAFT, caller=A, join=Join.ALSO_DONE)
    assert (await house.submit(DRAFT, caller=B, join=Join.ALSO_DONE)).id != first.id


# Get, cancel, figures


async def test_a_strangers_job_is_as_unknown_as_none(house: House) -> None:
    job = await house.submit(DRAFT, caller=A)
    assert await house.studio.get(job.id, caller=A) == job
    for call in (house.studio.get, house.studio.cancel, house.studio.wait):
        with pytest.raises(JobNotFound):
            await call(job.id, caller=B)
        with pytest.raises(JobNotFound):
            await call("nobody")
    assert (await house.studio.get(job.id, caller=A)).state is JobState.PENDING


async def test_cancelling_takes_a_waiting_job_out_of_the_queue(house: House) -> None:
    job = await house.submit(DRAFT)
    cancelled = await house.studio.cancel(job.id)
    assert (cancelled.state, cancelled.finished_at) == (JobState.CANCELLED, NOW)
    assert house.queue.ids == []
    with pytest.raises(JobNotCancellable):
        await house.studio.cancel(job.id)


async def test_cancelling_stops_the_worker_of_a_running_job(house: House) -> None:
    job = await house.take(await house.submit(DRAFT))
    await house.studio.cancel(job.id)
    assert house.pool.stopped == [job.id]
    assert (await house.studio.get(job.id)).state is JobState.CANCELLED


async def test_a_completed_job_cannot_be_cancelled(house: House) -> None:
    job = await house.finish(await house.take(await house.submit(DRAFT)))
    with pytest.raises(JobNotCancellable):
        await house.studio.cancel(job.id)
    assert house.pool.stopped == []


async def test_positions_count_from_one_in_the_order_of_taking(house: House) -> None:
    first, second, urgent = [await house.submit(DRAFT, priority=p) for p in (0, 0, 1)]
    assert [await house.studio.queue_position(job) for job in (urgent, first, second)] == [1, 2, 3]
    running = await house.take(urgent)
    assert [await house.studio.queue_position(job) for job in (running, first, second)] == [0, 1, 2]


async def test_the_queue_status_counts_all_jobs(house: House) -> None:
    done, running, waiting = [await house.submit(DRAFT) for _ in range(3)]
    await house.finish(await house.take(done))
    await house.take(running)
    status = await house.studio.queue_status()
    assert (status.pending, status.processing, status.completed) == (1, 1, 1)
    assert (status.failed, status.cancelled, status.total, status.max_queue_size) == (0, 0, 3, 3)
    await house.studio.cancel(waiting.id)
    assert (await house.studio.queue_status()).cancelled == 1


async def test_progress_is_the_newest_of_a_running_job(house: House) -> None:
    job = await house.take(await house.submit(DRAFT))
    assert await house.studio.progress(job.id) is None
    for step in (1, 2):
        house.events.publish(
            ProgressMade(job_id=job.id, progress=Progress(stage=Stage.DENOISING, step=step, total_steps=9))
        )
    assert await house.studio.progress(job.id) == Progress(stage=Stage.DENOISING, step=2, total_steps=9)
    await house.finish(job)
    assert await house.studio.progress(job.id) is None


# Watch and wait


async def test_a_watcher_sees_the_present_and_all_that_follows(house: House) -> None:
    # Given a watcher of a waiting job
    job = await house.submit(DRAFT)
    async with house.studio.watch(job.id) as events:
        # When the job is lost once, makes a step and is completed
        running = await house.take(job)
        back = house.tell(await house.store.give_back(job.id, 1, LOST, later()))
        again = await house.take(job)
        step = ProgressMade(job_id=job.id, progress=Progress(stage=Stage.DENOISING, step=1, total_steps=9))
        house.events.publish(step)
        done = await house.finish(again)
        seen = [event async for event in events]
    # Then it sees all of it in order, and the end ends it
    states = [StateChanged(job=state) for state in (job, running, back, again)]
    assert seen == [*states, step, StateChanged(job=done)]


async def test_an_event_older_than_the_first_look_is_not_shown(house: House) -> None:
    # Given events that reach the watcher between its entry and its look at the store
    job = await house.submit(DRAFT)
    running = await house.take(job)
    async with house.studio.watch(job.id) as events:
        house.tell(job)
        house.tell(running)
        done = await house.finish(running)
        seen = [event async for event in events]
    # Then states never go back
    assert seen == [StateChanged(job=running), StateChanged(job=done)]


async def test_watching_an_ended_job_shows_its_end_at_once(house: House) -> None:
    done = await house.finish(await house.take(await house.submit(DRAFT)))
    assert await collected(house, done) == [StateChanged(job=done)]


async def test_wait_returns_the_ended_job(house: House) -> None:
    job = await house.submit(DRAFT)
    waiting = asyncio.ensure_future(house.studio.wait(job.id))
    await asyncio.sleep(0)
    assert not waiting.done()
    cancelled = await house.studio.cancel(job.id)
    assert await asyncio.wait_for(waiting, 5) == cancelled


async def test_wait_ends_when_the_house_does(house: House) -> None:
    job = await house.submit(DRAFT)
    waiting = asyncio.ensure_future(house.studio.wait(job.id))
    await asyncio.sleep(0)
    house.events.close()
    with pytest.raises(ShuttingDown):
        await asyncio.wait_for(waiting, 5)


async def test_of_a_job_of_which_nothing_more_is_told_the_store_is_asked_once_more(house: House) -> None:
    # Given jobs that somebody waits for
    removed, ended = await house.submit(DRAFT), await house.submit(DRAFT)
    waiting = [asyncio.ensure_future(house.studio.wait(job.id)) for job in (removed, ended)]
    await asyncio.sleep(0)
    # When they are cancelled elsewhere, one is removed too, and what is told of them ends
    await house.store.cancel(removed.id, NOW)
    await InMemoryKeptJobs(house.store).remove([removed.id])
    cancelled = await house.store.cancel(ended.id, NOW)
    house.events.close()
    # Then they hear what the store knows
    gone, end = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert isinstance(gone, JobNotFound)
    assert end == cancelled


# Input images


async def test_an_accepted_job_takes_its_pictures_over(house: House) -> None:
    image = house.staged()
    content = image.path.read_bytes()
    job = await house.submit(replace(DRAFT, mode=Mode.IMG2IMG, input_images=(image,)))
    (ref,) = job.request.inputs
    assert ref == ref_of(image)
    assert LocalArtifactStore(house.root / "outputs").path(ref.name).read_bytes() == content
    assert not image.path.exists()


async def test_a_refused_draft_leaves_its_pictures_to_the_caller(house: House) -> None:
    image = house.staged()
    with pytest.raises(InvalidRequest):
        await house.submit(replace(DRAFT, input_images=(image,)))
    assert image.path.exists()


# Several at once


async def test_of_several_orders_all_are_taken_or_none(house: House) -> None:
    def orders() -> list[Order]:
        draft = replace(DRAFT, mode=Mode.IMG2IMG, input_images=(house.staged(),))
        return [Order(draft=replace(draft, seed=seed)) for seed in range(3)]

    first = await house.submit(DRAFT)
    with pytest.raises(QueueFull):
        await house.studio.submit_all(orders())
    assert await house.store.unfinished() == [first]
    # When there is room, the one picture that all begin with is theirs
    await house.take(first)
    jobs = await house.studio.submit_all(orders())
    assert [job.request.seed for job in jobs] == [0, 1, 2]
    assert house.queue.ids[1:] == [job.id for job in jobs]


async def test_a_refused_submit_leaves_no_picture_behind(house: House) -> None:
    for _ in range(3):
        await house.submit(DRAFT)
    with pytest.raises(QueueFull):
        await house.submit(replace(DRAFT, mode=Mode.IMG2IMG, input_images=(house.staged(),)))
    assert list((house.root / "outputs").glob("input-*")) == []


async def test_more_than_the_queue_ever_holds_is_no_matter_of_waiting(house: House) -> None:
    with pytest.raises(ParameterOutOfRange, match="At most 3 pictures"):
        await house.studio.submit_all([Order(draft=DRAFT)] * 4)


async def test_a_job_without_a_batch_is_a_batch_of_its_own(house: House) -> None:
    alone = await house.submit(DRAFT)
    placed = await house.submit(DRAFT, batch=BatchPlace(id="b", index=2, size=4))
    assert (alone.batch_id, alone.batch_index) == (alone.id, 0)
    assert (placed.batch_id, placed.batch_index) == ("b", 2)


async def test_who_sees_all_finds_every_job_by_its_fingerprint(house: House) -> None:
    mine, theirs = await house.submit(DRAFT, caller=A), await house.submit(DRAFT, caller=B)
    assert mine.fingerprint == theirs.fingerprint
    assert await house.studio.with_fingerprint(mine.fingerprint[:8], caller=A) == [mine]
    assert await house.studio.with_fingerprint(mine.fingerprint, caller=LOCAL) == [theirs, mine]
    assert await house.studio.get(mine.id, caller=LOCAL) == mine


async def test_previews_are_asked_for_only_where_they_are_wanted(house: House) -> None:
    job = await house.take(await house.submit(DRAFT))
    async with house.studio.watch(job.id):
        assert house.pool.previewed == []
    async with house.studio.watch(job.id, previews=True):
        assert house.pool.previewed == [job.id]
    await house.finish(job)
    async with house.studio.watch(job.id, previews=True):
        assert house.pool.previewed == [job.id]


class GrowingCatalogue(FixedCatalogue):
    """A LoRA has come since it looked."""

    def __init__(self) -> None:
        super().__init__(replace(CARD, loras=("ink",)))
        self.looks = 0

    def refresh(self) -> None:
        self.looks += 1
        self._cards = (replace(CARD, loras=("ink", "late")),)


async def test_a_lora_that_is_not_known_is_looked_for_once(tmp_path: Path) -> None:
    house = House(tmp_path, catalogue=(catalogue := GrowingCatalogue()))
    ink, late = (replace(DRAFT, loras=(Lora(name=name),)) for name in ("ink", "late"))
    for draft, looks in ((DRAFT, 0), (ink, 0), (late, 1), (late, 1)):
        job = await house.submit(draft)
        assert (job.request.loras, catalogue.looks) == (draft.loras, looks)
        await house.take(job)
    with pytest.raises(NotSupported, match="LoRA never by model tiny; there is: ink, late"):
        await house.studio.submit_all([Order(draft=ink), Order(draft=replace(DRAFT, loras=(Lora(name="never"),)))])
    assert catalogue.looks == 2


# Submits that are sent again


async def test_a_submit_that_is_sent_again_is_answered_with_its_job_whatever_stands_against_it(house: House) -> None:
    # Given a submit under a key
    first = await house.studio.submit(Order(draft=DRAFT), key=KEY)
    done = await house.finish(await house.take(first))
    # When it is sent again to a server that takes nothing
    house.studio.stop_accepting()
    house.pool.state = WorkerState.BROKEN
    # Then its job is the answer, and nothing was queued again
    assert await house.studio.submit(Order(draft=DRAFT), key=KEY) == done
    assert house.queue.ids == [first.id]
    # And another request under the key is told so, before anything else
    with pytest.raises(SubmitKeyReused):
        await house.studio.submit(Order(draft=DRAFT), key=replace(KEY, digest="other"))


async def test_a_submit_sent_twice_at_once_is_one(house: House) -> None:
    # Given two of which neither is stored when the other looks
    house.store.go_on.clear()
    submits = [asyncio.create_task(house.studio.submit(Order(draft=DRAFT), key=KEY)) for _ in range(2)]
    for _ in range(10):  # as far as they can come
        await asyncio.sleep(0)
    house.store.go_on.set()
    first, second = await asyncio.gather(*submits)
    assert first == second
    assert house.queue.ids == [first.id]


async def test_a_submit_under_a_key_joins_no_other_and_is_nobodys_to_abandon(house: House) -> None:
    # Given two equal orders that are waited for, the second under a key
    unkeyed = await house.studio.submit(WAITED_FOR)
    keyed = await house.studio.submit(WAITED_FOR, key=KEY)
    assert keyed.id != unkeyed.id
    # When whoever waited leaves, then the second goes on: he said that he may come back
    await house.studio.leave(unkeyed)
    await house.studio.leave(keyed)
    assert [(await house.store.get(job.id)).state for job in (unkeyed, keyed)] == [
        JobState.CANCELLED,
        JobState.PENDING,
    ]


# Who waits


async def test_a_joined_job_is_cancelled_by_the_last_who_leaves(house: House) -> None:
    # Given three who wait for equal pictures, one of them another owner
    first = await house.studio.submit(WAITED_FOR, caller=A)
    assert await house.studio.submit(WAITED_FOR, caller=A) == first
    others = await house.studio.submit(WAITED_FOR, caller=B)
    assert others.id != first.id
    # When they leave one after the other
    await house.studio.leave(first, caller=A)
    assert (await house.store.get(first.id)).state is JobState.PENDING
    await house.studio.leave(first, caller=A)
    # Then the last one's leaving cancels it, and it is not joined any more
    assert (await house.store.get(first.id)).state is JobState.CANCELLED
    assert (await house.studio.submit(WAITED_FOR, caller=A)).id != first.id
    assert (await house.store.get(others.id)).state is JobState.PENDING


@pytest.mark.parametrize("wants", ["asks", "joins", "a policy"])
async def test_a_job_that_somebody_else_wants_goes_on(house: House, wants: str) -> None:
    job = await house.studio.submit(WAITED_FOR)
    match wants:
        case "asks":  # somebody polls it
            await house.studio.get(job.id)
        case "joins":  # somebody is told its id
            assert await house.studio.submit(replace(WAITED_FOR, attended=False)) == job
        case _:
            house.studio = house.made_studio(Limits(max_queue_size=3, cancel_abandoned=False))
            await house.studio.cancel(job.id)
            job = await house.studio.submit(WAITED_FOR)
    await house.studio.leave(job)
    assert (await house.store.get(job.id)).state is JobState.PENDING


async def test_who_waited_to_the_end_cancels_nothing(house: House) -> None:
    done = await house.finish(await house.take(await house.studio.submit(WAITED_FOR)))
    await house.studio.leave(done)
    assert await house.store.get(done.id) == done


async def test_nobody_is_given_a_job_that_is_just_being_cancelled(house: House) -> None:
    # Given one who leaves when another one's equal request has found his job already
    first = await house.studio.submit(WAITED_FOR)
    find_equal = house.store.find_equal

    async def leave_meanwhile(owner: str, fingerprint: str, join: Join) -> Job | None:
        found = await find_equal(owner, fingerprint, join)
        await house.studio.leave(first)
        return found

    house.store.find_equal = leave_meanwhile  # pyright: ignore[reportAttributeAccessIssue]
    second = await house.studio.submit(WAITED_FOR)
    # Then the other one has a job of his own
    assert second.id != first.id
    assert (await house.store.get(second.id)).state is JobState.PENDING
    assert house.queue.ids == [second.id]


async def test_who_is_refused_for_one_of_two_waits_for_neither(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given one who waits for two jobs, and leaves the second when an equal request for both has found them
    orders = [replace(WAITED_FOR, draft=replace(DRAFT, seed=seed)) for seed in (1, 2)]
    first, second = await house.studio.submit_all(orders)
    add_all = house.store.add_all

    async def leave_meanwhile(jobs: Sequence[Job], max_pending: int, **terms: Any) -> list[Job]:  # noqa: ANN401
        found = await add_all(jobs, max_pending, **terms)
        await house.studio.leave(second)
        house.store.failing = True
        return found

    # When a second one cannot be stored for that request
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(house.store, "add_all", leave_meanwhile)
        with pytest.raises(StorageFailure):
            await house.studio.submit_all(orders)
    # Then only the first one still waits for the first job, and his leaving cancels it
    assert await house.studio.waiting_for(first) == 1
    await house.studio.leave(first)
    assert (await house.store.get(first.id)).state is JobState.CANCELLED


async def test_a_job_that_is_left_and_not_cancelled_is_joined(house: House) -> None:
    house.studio = house.made_studio(Limits(max_queue_size=3, cancel_abandoned=False))
    job = await house.studio.submit(WAITED_FOR)
    await house.studio.leave(job)
    assert await house.studio.submit(WAITED_FOR) == job


async def test_a_job_that_was_left_too_late_to_be_cancelled_is_joined(house: House) -> None:
    # Given a job whose original is stored
    job = await house.take(await house.studio.submit(WAITED_FOR))
    generated = house.tell(await house.store.generate(job.id, 1, [an_original(job)], []))
    # When the one who waited leaves, then it goes on, and another one may still wait for it
    await house.studio.leave(job)
    assert await house.studio.submit(WAITED_FOR) == generated


async def test_a_job_that_could_not_be_cancelled_is_joined(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await house.studio.submit(WAITED_FOR)

    async def fail(job_id: str, now: datetime) -> Job | None:
        raise StorageFailure

    with monkeypatch.context() as broken:
        broken.setattr(house.store, "cancel", fail)
        with pytest.raises(StorageFailure):
            await house.studio.leave(job)
    assert await house.studio.submit(WAITED_FOR) == job


async def test_of_finished_pictures_none_is_joined_by_who_waits(house: House) -> None:
    done = await house.finish(await house.take(await house.studio.submit(WAITED_FOR)))
    assert (await house.studio.submit(WAITED_FOR)).id != done.id


async def test_a_request_without_a_seed_equals_no_other(house: House) -> None:
    order = replace(WAITED_FOR, draft=RequestDraft(prompt="pizza"))
    assert (await house.studio.submit(order)).id != (await house.studio.submit(order)).id


# Limits


async def test_who_has_enough_waiting_is_told_when_to_come_back(house: House) -> None:
    # Given an owner who has all that he may have, two of three, and jobs that take 4 seconds
    house.studio = house.made_studio(Limits(max_queue_size=9, max_queue_of_owner=2))
    for seed in range(3):
        await house.submit(replace(DRAFT, seed=seed), caller=A if seed else B)
    with pytest.raises(TooManyJobs) as unknown:
        await house.submit(DRAFT, caller=A)
    house.pace.completed(NOW, NOW + timedelta(seconds=4))
    with pytest.raises(TooManyJobs) as refused:
        await house.submit(DRAFT, caller=A)
    # Then he is told in how many seconds one of his will probably have been made
    assert (unknown.value.retry_after_s, refused.value.retry_after_s) == (5, 6)
    assert await house.submit(replace(DRAFT, seed=9), caller=B)


async def test_a_full_queue_tells_when_there_will_be_room(house: House) -> None:
    for seed in range(3):
        await house.submit(replace(DRAFT, seed=seed))
    house.pace.completed(NOW, NOW + timedelta(seconds=1000))
    with pytest.raises(QueueFull) as refused:
        await house.submit(DRAFT)
    assert refused.value.retry_after_s == 120  # nobody waits longer for serious


async def test_an_ordinary_owner_goes_before_others_as_far_as_he_may(house: House) -> None:
    house.studio = house.made_studio(Limits(max_queue_size=9, max_priority=1))
    assert (await house.submit(DRAFT, caller=A, priority=1)).priority == 1
    with pytest.raises(ParameterOutOfRange, match=r"priority must be at most 1\.") as refused:
        await house.submit(DRAFT, caller=A, priority=2)
    assert refused.value.parameter == "priority"
    assert (await house.submit(DRAFT, priority=2)).priority == 2  # who sees everybody's
