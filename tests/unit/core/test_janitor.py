"""What is kept long enough goes, oldest first; all else stays, whatever happens meanwhile. Real store, real files."""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, text

from danqing.blobs.local import LocalArtifactStore
from danqing.core.answered import Answered
from danqing.core.batches import BatchState
from danqing.core.errors import BatchNotFound, JobNotFound, StorageFailure
from danqing.core.images import ImageRef, StagedImage, ref_of
from danqing.core.janitor import KEPT_AT_LEAST, Janitor, Retention
from danqing.core.keeping import KeptBytes
from danqing.core.orders import Limits, Order
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.core.submitting import Join, SubmitKey
from danqing.core.taking_over import InputImages
from danqing.core.types import Job, Mode, RequestDraft
from danqing.events.in_process import InProcessEventBus
from danqing.store.kept_jobs import SqlKeptJobs
from danqing.store.sqlite import SqliteStores
from tests.fakes.domain import LOST, NO_LIMIT, NOW, a_card, a_job, a_request, an_original
from tests.fakes.studio_parts import FixedCatalogue, RecordingQueue, StillPool

DAY = timedelta(days=1)
PICTURE = bytes(1000)
INPUT = "input-" + "a" * 64 + ".png"
IMAGE = ImageRef(name=INPUT, width=8, height=8)
WITH_INPUT = a_request(mode=Mode.IMG2IMG, input_images=(IMAGE,))


class Place:
    """A store and its pictures, and a clock."""

    def __init__(self, root: Path) -> None:
        """Blocking."""
        self.now = NOW
        self.stores = SqliteStores.open(root / "db", clock=lambda: self.now)
        self.artifacts = LocalArtifactStore(root / "outputs")
        self.inputs = InputImages(self.artifacts)
        self.sizes = KeptBytes(self.stores.kept, self.artifacts)
        self.answered = Answered(clock=lambda: self.now.timestamp())

    def janitor(self, **kept: object) -> Janitor:
        return Janitor(
            Retention(**kept),  # pyright: ignore[reportArgumentType]
            kept=self.stores.kept,
            sizes=self.sizes,
            artifacts=self.artifacts,
            inputs=self.inputs,
            answered=self.answered,
        )

    def studio(self) -> Studio:
        return Studio(
            store=self.stores.jobs,
            queue=RecordingQueue(),
            pool=StillPool(),
            events=InProcessEventBus(),
            catalogue=FixedCatalogue(a_card()),
            artifacts=self.artifacts,
            limits=Limits(max_queue_size=NO_LIMIT),
            inputs=self.inputs,
            answered=self.answered,
            clock=lambda: self.now,
        )

    async def waiting(self, **changes: object) -> Job:
        return await self.stores.jobs.add(a_job(created_at=self.now, **changes), NO_LIMIT)

    async def done(self, *, batch_size: int = 1, **changes: object) -> Job:
        """A job that is completed by now."""
        job = await self.stores.jobs.add(a_job(created_at=self.now, **changes), NO_LIMIT, batch_size=batch_size)
        await self.stores.jobs.claim(job.id, "w", self.now)
        self.artifacts.write(f"{job.id}.png", PICTURE)
        artifact = replace(an_original(job), size_bytes=len(PICTURE))
        completed = await self.stores.jobs.complete(job.id, 1, [artifact], (), self.now)
        assert completed is not None
        return completed

    def files(self) -> set[str]:
        return {path.name for path in (self.artifacts._root).iterdir() if path.is_file()}

    async def left(self, *jobs: Job) -> list[bool]:
        return [await self._is_there(job) for job in jobs]

    async def _is_there(self, job: Job) -> bool:
        try:
            await self.stores.jobs.get(job.id)
        except JobNotFound:
            return False
        return True


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = await asyncio.to_thread(Place, tmp_path)
    yield place
    await place.stores.close()


async def test_what_is_old_goes_with_its_pictures_and_all_else_stays(place: Place) -> None:
    old, waits, runs = await place.done(), await place.waiting(), await place.waiting()
    failed = await place.waiting()
    await place.stores.jobs.claim(runs.id, "w", place.now)
    await place.stores.jobs.claim(failed.id, "w", place.now)
    await place.stores.jobs.fail(failed.id, 1, LOST, place.now)
    await place.stores.subscriptions.add("local", "client", old.id)
    place.now += 2 * DAY
    young = await place.done()
    place.now += DAY

    swept = await place.janitor(max_age=2 * DAY).sweep()

    assert (swept.jobs, swept.bytes_left) == (2, None)
    assert await place.left(old, failed, waits, runs, young) == [False, False, True, True, True]
    assert place.files() == {f"{young.id}.png"}
    assert await place.stores.subscriptions.jobs("local", "client", ended=9) == []
    counts = await place.stores.jobs.counts()
    assert counts == {**dict.fromkeys(JobState, 0), JobState.PENDING: 1, JobState.PROCESSING: 1, JobState.COMPLETED: 1}
    assert [job.id for job in await place.stores.jobs.unfinished()] == [waits.id, runs.id]


async def test_too_many_bytes_go_oldest_first_and_no_more_than_needed(place: Place) -> None:
    jobs = [await place.done() for _ in range(6)]
    place.now += 2 * KEPT_AT_LEAST

    swept = await place.janitor(max_bytes=3500).sweep()

    assert (swept.jobs, swept.bytes_left) == (3, 3000)
    assert await place.left(*jobs) == [False] * 3 + [True] * 3


async def test_pictures_are_added_up_once_a_sweep_and_not_for_each_job(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given more jobs than go at once, none of which was sent with a picture
    monkeypatch.setattr("danqing.core.janitor.JOBS_AT_ONCE", 2)
    jobs = [await place.done() for _ in range(12)]
    place.now += 2 * KEPT_AT_LEAST
    asked: list[str | None] = []
    of = place.sizes.of

    async def counted(owner: str | None) -> int:
        asked.append(owner)
        return await of(owner)

    monkeypatch.setattr(place.sizes, "of", counted)
    # When ten of them have to go, then that is added up before and afterwards
    swept = await place.janitor(max_bytes=2500).sweep()
    assert (swept.jobs, swept.bytes_left) == (10, 2000)
    assert await place.left(*jobs) == [False] * 10 + [True] * 2
    assert asked == [None, None]


async def test_no_more_goes_than_needed_where_jobs_were_sent_with_pictures(place: Place) -> None:
    # Given old jobs of 1000 bytes that start from one picture of 1000, and young ones that do not
    place.artifacts.write(INPUT, PICTURE)
    jobs = [await place.done(request=WITH_INPUT) for _ in range(3)]
    jobs += [await place.done() for _ in range(3)]
    place.now += 2 * KEPT_AT_LEAST
    # When there are 7000 bytes, and 4500 may be, then the third takes the picture with it
    swept = await place.janitor(max_bytes=4500).sweep()
    assert (swept.jobs, swept.bytes_left) == (3, 3000)
    assert await place.left(*jobs) == [False] * 3 + [True] * 3


async def test_where_the_oldest_cannot_go_the_next_ones_do(place: Place) -> None:
    # Given four jobs, of which the oldest's picture cannot be removed
    jobs = [await place.done() for _ in range(4)]
    place.now += 2 * KEPT_AT_LEAST
    place.artifacts = Selective(place.artifacts._root)
    place.artifacts.stays = f"{jobs[0].id}.png"
    # When two have to go, then the next two do
    assert (await place.janitor(max_bytes=2000).sweep()).jobs == 2
    assert await place.left(*jobs) == [True, False, False, True]


async def test_an_owner_without_jobs_is_asked_about_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given many jobs of others, with pictures that were sent
    monkeypatch.setattr("danqing.store.kept_rows.ROWS_AT_ONCE", 2)
    for _ in range(9):
        await place.done(request=WITH_INPUT)
    reads = 0
    read = place.stores.kept._database.read

    async def counted(query: Callable[[Connection], Any]) -> Any:  # noqa: ANN401 - of any kind
        nonlocal reads
        reads += 1
        return await read(query)

    monkeypatch.setattr(place.stores.kept._database, "read", counted)
    # When another one's are asked for, then theirs are not read; and his own are all found
    assert await place.stores.kept.input_names("nobody") == frozenset()
    assert reads == 1
    assert await place.stores.kept.input_names("local") == {INPUT}


async def test_however_short_of_room_an_hour_is_given(place: Place) -> None:
    job = await place.done()
    place.now += KEPT_AT_LEAST

    swept = await place.janitor(max_bytes=1, max_age=timedelta(seconds=1)).sweep()
    assert (swept.jobs, swept.bytes_left) == (0, 1000)

    place.now += timedelta(seconds=1)
    assert (await place.janitor(max_bytes=1).sweep()).jobs == 1
    assert await place.left(job) == [False]


@pytest.mark.parametrize("key", [None, SubmitKey(text="again", digest="d" * 64)])
@pytest.mark.parametrize("kept", [{"max_bytes": 1}, {"max_age": timedelta(hours=2)}])
async def test_what_a_submit_is_answered_with_is_given_an_hour(
    place: Place, key: SubmitKey | None, kept: dict[str, object]
) -> None:
    # Given a job that was done some hours ago, between two others, and that equals what is asked for now
    studio, order = place.studio(), Order(draft=RequestDraft(prompt="pizza", seed=1), join=Join.ALSO_DONE)
    before = await place.done()
    job = await studio.submit(order, key=key)
    await place.stores.jobs.claim(job.id, "w", place.now)
    place.artifacts.write(f"{job.id}.png", PICTURE)
    picture = replace(an_original(job), size_bytes=len(PICTURE))
    assert await place.stores.jobs.complete(job.id, 1, [picture], (), place.now) is not None
    after = await place.done()
    place.now += timedelta(hours=3)
    again = await studio.submit(order, key=key)
    assert (again.id, again.state) == (job.id, JobState.COMPLETED)
    # When the janitor comes within the hour, then it passes it over, however short of room
    place.now += KEPT_AT_LEAST
    assert (await place.janitor(**kept).sweep()).jobs == 2
    assert await place.left(before, job, after) == [False, True, False]
    assert place.files() == {picture.name}
    # And later it does not
    place.now += timedelta(seconds=1)
    assert (await place.janitor(**kept).sweep()).jobs == 1
    assert place.files() == set()


async def test_a_job_that_is_joined_before_that_is_too_late_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an old job that is joined when the janitor has chosen it, and has not said so yet
    job = await place.done(fingerprint="equal")
    place.now += 2 * DAY
    begin_removal = place.stores.kept.begin_removal

    async def joined_first(job_ids: Collection[str]) -> None:
        found = await place.stores.jobs.find_equal(job.owner, "equal")
        assert found is not None
        place.answered.note(found)
        await begin_removal(job_ids)

    monkeypatch.setattr(place.stores.kept, "begin_removal", joined_first)
    # Then it stays
    assert (await place.janitor(max_age=DAY).sweep()).jobs == 0
    assert await place.left(job) == [True]
    assert place.files() == {f"{job.id}.png"}


async def test_many_jobs_go_in_several_goes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danqing.core.janitor.JOBS_AT_ONCE", 3)
    monkeypatch.setattr("danqing.store.kept_rows.ROWS_AT_ONCE", 2)
    for _ in range(8):
        await place.done()
    place.now += 2 * DAY

    assert (await place.janitor(max_age=DAY).sweep()).jobs == 8
    assert place.files() == set()
    assert (await place.janitor(max_age=DAY).sweep()).jobs == 0


async def test_the_history_shows_what_is_there(place: Place) -> None:
    # Given a batch of three, of which two are old, one all of which is old, and a forgotten one under a used id
    first = [await place.done(batch_id="b", batch_size=3) for _ in range(2)]
    await place.done(batch_id="gone")
    forgotten = await place.done(batch_id="again")
    await place.stores.batches.forget("again", "local")
    place.now += 2 * DAY
    last = await place.done(batch_id="b", batch_size=3)
    again = await place.done(batch_id="again")

    await place.janitor(max_age=DAY).sweep()

    batch = await place.stores.batches.batch("b", "local")
    assert ([job.id for job in batch.jobs], batch.size) == ([last.id], 1)
    assert batch.state_at(place.now) is BatchState.SUCCESS
    with pytest.raises(BatchNotFound):
        await place.stores.batches.batch("gone", "local")
    assert [job.id for job in (await place.stores.batches.batch("again", "local")).jobs] == [again.id]
    assert await place.left(*first, forgotten) == [False] * 3


async def test_a_picture_that_was_sent_goes_with_the_last_job_that_starts_from_it(place: Place) -> None:
    place.artifacts.write(INPUT, PICTURE)
    first, second = await place.done(request=WITH_INPUT), None
    place.now += 2 * DAY
    second = await place.waiting(request=WITH_INPUT)

    await place.janitor(max_age=DAY).sweep()
    assert await place.left(first, second) == [False, True]
    assert place.files() == {INPUT}
    assert await place.sizes.of(None) == await place.sizes.of("local") == 1000

    await place.stores.jobs.cancel(second.id, place.now)
    place.now += 2 * DAY
    await place.janitor(max_age=DAY).sweep()
    assert place.files() == set()


async def test_a_picture_that_is_sent_again_meanwhile_is_there_for_its_job(place: Place) -> None:
    # Given an old job's picture, which somebody sends again while the janitor asks who uses it
    place.artifacts.write(INPUT, PICTURE)
    staged = place.artifacts.staging() / "staged"
    staged.write_bytes(PICTURE)
    image = StagedImage(path=staged, sha256="a" * 64, width=8, height=8)
    assert ref_of(image).name == INPUT
    asked, go_on, taken = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def in_use() -> frozenset[str]:
        asked.set()
        await go_on.wait()
        return frozenset()

    async def submit() -> None:
        async with place.inputs.taken_over([image]) as inputs:
            taken.set()
            inputs.keep()

    removing = asyncio.create_task(place.inputs.remove_unused({INPUT}, in_use))
    await asked.wait()
    submitting = asyncio.create_task(submit())
    await asyncio.sleep(0)
    assert not taken.is_set()

    # Then the submit waits, and has it
    go_on.set()
    assert await removing == set()
    await submitting
    assert place.files() == {INPUT}


async def test_a_picture_that_a_submit_is_busy_with_is_left_for_the_next_time(place: Place) -> None:
    staged = place.artifacts.staging() / "staged"
    staged.write_bytes(PICTURE)
    image = StagedImage(path=staged, sha256="a" * 64, width=8, height=8)
    old = await place.done(request=WITH_INPUT)
    place.now += 2 * DAY
    janitor = place.janitor(max_age=DAY)

    async with place.inputs.taken_over([image]) as inputs:
        await janitor.sweep()
        assert place.files() == {INPUT}
        inputs.keep()
    assert await place.left(old) == [False]

    # Then, as no job came of it, it goes with the next job that does
    await place.done()
    place.now += 2 * DAY
    await janitor.sweep()
    assert place.files() == set()


class Selective(LocalArtifactStore):
    """One picture cannot be removed."""

    stays: str

    def remove(self, name: str) -> None:
        if name == self.stays:
            raise StorageFailure
        super().remove(name)


class Stubborn(LocalArtifactStore):
    """Nothing can be removed."""

    def remove(self, name: str) -> None:
        raise StorageFailure


async def test_a_job_whose_picture_cannot_be_removed_stays(place: Place) -> None:
    job = await place.done()
    place.now += 2 * DAY
    working = place.artifacts
    place.artifacts = Stubborn(working._root)
    assert (await place.janitor(max_age=DAY).sweep()).jobs == 0
    assert await place.left(job) == [True]

    place.artifacts = working
    assert (await place.janitor(max_age=DAY).sweep()).jobs == 1


async def test_pictures_are_gone_for_good_before_their_rows_by_one_sync_for_many(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [await place.done() for _ in range(5)]
    place.now += 2 * DAY
    loop, synced = asyncio.get_running_loop(), list[tuple[bool, bool]]()

    def sync(folder: Path) -> None:
        gone = not any((folder / f"{job.id}.png").exists() for job in jobs)
        rows = asyncio.run_coroutine_threadsafe(place.left(*jobs), loop).result(60)  # so it is another thread
        synced.append((gone, all(rows)))

    monkeypatch.setattr("danqing.blobs.local.sync_directory", sync)
    # When all of them go, then the directory is synced once, when the files are gone and the rows are not
    assert (await place.janitor(max_age=DAY).sweep()).jobs == 5
    assert synced == [(True, True)]


async def test_jobs_whose_pictures_may_come_back_stay(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await place.done()
    place.now += 2 * DAY

    def failing(folder: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr("danqing.blobs.local.sync_directory", failing)
        assert (await place.janitor(max_age=DAY).sweep()).jobs == 0
    assert await place.left(job) == [True]

    assert (await place.janitor(max_age=DAY).sweep()).jobs == 1


async def test_a_job_that_came_while_the_clock_was_ahead_keeps_no_other(place: Place) -> None:
    place.now += 365 * DAY
    ahead = await place.done()
    place.now = NOW
    old = await place.done()
    place.now += 2 * DAY
    young = await place.done()

    assert (await place.janitor(max_age=DAY).sweep()).jobs == 1
    assert await place.left(ahead, old, young) == [True, False, True]


async def test_jobs_that_cannot_be_read_keep_no_other(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danqing.core.janitor.JOBS_AT_ONCE", 2)
    jobs = [await place.done() for _ in range(7)]
    unreadable = [{"of_job": job.id} for job in jobs[1:6]]
    spoil = text("UPDATE jobs SET request = 'x' WHERE id = :of_job")
    await place.stores.kept._database.write(lambda writing: writing.execute(spoil, unreadable), durable=False)
    place.now += 2 * DAY

    assert (await place.janitor(max_age=DAY).sweep()).jobs == 2
    counts = await place.stores.jobs.counts()
    assert counts[JobState.COMPLETED] == 5


class Asking(LocalArtifactStore):
    """Says what is removed before it is."""

    before: Callable[[str], None]

    def remove(self, name: str) -> None:
        self.before(name)
        super().remove(name)


async def test_a_job_whose_pictures_are_going_is_not_joined_any_more(place: Place) -> None:
    job = await place.done(fingerprint="equal")
    assert await place.stores.jobs.find_equal(job.owner, "equal") is not None
    loop, found = asyncio.get_running_loop(), list[Job | None]()

    def before(_: str) -> None:
        equal = asyncio.run_coroutine_threadsafe(place.stores.jobs.find_equal(job.owner, "equal"), loop)
        found.append(equal.result(60))

    place.artifacts = Asking(place.artifacts._root)
    place.artifacts.before = before
    place.now += 2 * DAY

    assert (await place.janitor(max_age=DAY).sweep()).jobs == 1
    assert set(found) == {None}


async def test_who_uses_the_pictures_is_asked_once_a_sweep_and_again_if_that_fails(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given several goes' worth of jobs with pictures that were sent, and a store that fails when it is asked
    monkeypatch.setattr("danqing.core.janitor.JOBS_AT_ONCE", 1)
    for digit in "abc":
        image = replace(IMAGE, name=f"input-{digit * 64}.png")
        place.artifacts.write(image.name, PICTURE)
        await place.done(request=a_request(mode=Mode.IMG2IMG, input_images=(image,)))
    place.now += 2 * DAY
    janitor, asked = place.janitor(max_age=DAY), 0
    input_names = place.stores.kept.input_names

    async def failing_first(owner: str | None) -> frozenset[str]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise StorageFailure
        return await input_names(owner)

    monkeypatch.setattr(place.stores.kept, "input_names", failing_first)
    with pytest.raises(StorageFailure):
        await janitor.sweep()
    assert (asked, len(place.files())) == (1, 3)

    # Then the next sweep removes them, though it has no job to remove
    assert (await janitor.sweep()).jobs == 0
    assert (asked, place.files()) == (2, set())


async def test_other_reads_come_in_between_while_pictures_are_looked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("danqing.store.kept_rows.ROWS_AT_ONCE", 2)
    jobs = [await place.waiting(request=WITH_INPUT if number in (0, 5, 6) else a_request()) for number in range(7)]
    reads, read = 0, place.stores.kept._database.read

    async def with_another(query: Callable[[Connection], object]) -> object:
        nonlocal reads
        reads += 1
        assert await place.stores.jobs.get(jobs[0].id) == jobs[0]
        return await read(query)

    kept = SqlKeptJobs(place.stores.kept._database, place.stores.kept._books, clock=None)
    monkeypatch.setattr(kept, "_database", SimpleNamespace(read=with_another))
    assert await kept.input_names(None) == {INPUT}
    assert reads == 5  # of two rows each, and one that finds no more


async def test_a_crash_between_file_and_row_leaves_nothing_for_ever(place: Place) -> None:
    job = await place.done()
    place.artifacts.remove(f"{job.id}.png")
    place.now += 2 * DAY

    assert (await place.janitor(max_age=DAY).sweep()).jobs == 1
    assert await place.left(job) == [False]


async def test_it_sweeps_by_itself_and_outlives_a_failure(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    job, swept = await place.done(), asyncio.Event()
    place.now += 2 * DAY
    janitor, calls = place.janitor(max_age=DAY), 0
    sweep: Callable[[], object] = janitor.sweep

    async def failing_first() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise StorageFailure
        await sweep()  # type: ignore[misc]
        swept.set()

    monkeypatch.setattr("danqing.core.janitor.SWEEP_EVERY_S", 0.0)
    monkeypatch.setattr(janitor, "sweep", failing_first)
    running = asyncio.create_task(janitor.run())
    await asyncio.wait_for(swept.wait(), 60)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await place.left(job) == [False]


async def test_where_all_is_kept_it_does_nothing(place: Place) -> None:
    await asyncio.wait_for(place.janitor().run(), 60)


async def test_what_was_accepted_lately(place: Place) -> None:
    moments: list[tuple[str, datetime]] = []
    for owner in ("a", "b", "a"):
        place.now += DAY
        await place.waiting(owner=owner)
        moments.append((owner, place.now))

    assert await place.stores.kept.accepted_since(NOW) == moments
    assert await place.stores.kept.accepted_since(NOW + DAY) == moments[1:]
    assert await place.stores.kept.accepted_since(place.now) == []


async def test_of_two_processes_one_removes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two processes that look all the time, of which one may remove at a time
    monkeypatch.setattr("danqing.core.janitor.SWEEP_EVERY_S", 0.0)
    jobs = [await place.done() for _ in range(6)]
    place.now += 2 * KEPT_AT_LEAST
    inside: list[bool] = []

    @asynccontextmanager
    async def exclusive(name: str) -> AsyncGenerator[bool]:
        assert name == "janitor"
        is_ours = not any(inside)
        inside.append(is_ours)
        try:
            yield is_ours
        finally:
            inside.remove(is_ours)

    janitors = [place.janitor(max_bytes=3500) for _ in range(2)]
    running = [asyncio.create_task(janitor.run(exclusive=exclusive)) for janitor in janitors]
    async with asyncio.timeout(60):
        while await place.left(*jobs) != [False] * 3 + [True] * 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    # Then no more goes than has to
    for _ in range(20):
        await asyncio.sleep(0.01)
        assert await place.left(*jobs) == [False] * 3 + [True] * 3
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
