"""The event bus over a real Redis, also one that is killed."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from danqing.core.errors import JobNotFound, StorageFailure
from danqing.core.events import Event, StateChanged
from danqing.core.orders import Limits
from danqing.core.ports import EventBus
from danqing.core.states import JobState
from danqing.core.studio import Studio
from danqing.core.types import Job, Lora
from danqing.events.outgoing import channel_of, progress_key
from danqing.events.redis_bus import RedisEventBus
from tests.contracts.event_bus import EventBusContract, changed, preview, step, told, until_completed
from tests.fakes.domain import LOST, NOW, a_card, a_job, a_request, an_original, later
from tests.fakes.job_store import InMemoryJobStore, InMemoryKeptJobs
from tests.fakes.studio_parts import FixedCatalogue, RecordingQueue, StillPool
from tests.services.redis import RedisServer
from tests.unit.events.redis_buses import SOON_S, TwoProcesses, a_bus, all_arrived
from tests.zoo.house import until


class TestInOneProcess(EventBusContract):
    implementation = RedisEventBus

    @pytest.fixture
    async def bus(self, redis_server: RedisServer) -> AsyncIterator[RedisEventBus]:
        async with a_bus(redis_server.url) as bus:
            yield bus

    async def arrived(self, bus: EventBus) -> None:
        assert isinstance(bus, RedisEventBus)
        assert await bus.flushed(wait_s=SOON_S)


class TestInTwoProcesses(EventBusContract):
    implementation = TwoProcesses

    @pytest.fixture
    async def bus(self, redis_server: RedisServer) -> AsyncIterator[TwoProcesses]:
        async with TwoProcesses(redis_server.url) as bus:
            yield bus

    async def arrived(self, bus: EventBus) -> None:
        assert isinstance(bus, TwoProcesses)
        await all_arrived(bus.publisher, bus.watcher)


class House:
    """A studio of one process over its own bus, and the store that all share."""

    def __init__(self, store: InMemoryJobStore, bus: RedisEventBus, folder: Path) -> None:
        self.store, self.bus = store, bus
        self.studio = Studio(
            store=store,
            queue=RecordingQueue(),
            pool=StillPool(),
            events=bus,
            catalogue=FixedCatalogue(a_card()),
            artifacts=None,  # type: ignore[arg-type]
            limits=Limits(max_queue_size=9),
        )

    async def history(self, job: Job, seen: list[Event]) -> None:
        """All that this process's watcher is told, until the job has ended."""
        async with self.studio.watch(job.id) as events:
            async for event in events:
                seen.append(event)


async def stored(store: InMemoryJobStore) -> Job:
    return await store.add(a_job(), 9)


async def until_seen(seen: list[Event], event: Event) -> None:
    await until(lambda: event in seen, f"{event}")


async def test_a_job_with_everything_comes_through_as_it_is(redis_server: RedisServer) -> None:
    # Given a job with whatever a job may have
    request = a_request(loras=(Lora(name="ink", scale=-0.5),), strength=0.25)
    store = InMemoryJobStore()
    job = await store.add(a_job(request=request, metadata={"a": [1, None, {"b": "披萨"}]}), 9)
    await store.claim(job.id, "n/w1", NOW)
    await store.give_back(job.id, 1, LOST, NOW)
    await store.claim(job.id, "n/w1", NOW)
    done = await store.complete(job.id, 2, [an_original(job)], ["made larger"], datetime.now(UTC))
    assert done is not None
    async with TwoProcesses(redis_server.url) as bus, bus.watch(job.id) as events:
        # When its end is published, then that is what is told elsewhere
        bus.publish(StateChanged(job=done))
        assert await told(events, 1) == [StateChanged(job=done)]


async def test_watchers_of_one_job_cost_one_subscription(redis_server: RedisServer) -> None:
    job = a_job()
    async with a_bus(redis_server.url) as bus:
        async with bus.watch(job.id), bus.watch(job.id), bus.watch(a_job().id):
            assert b":1\r\n" in redis_server.run("PUBSUB", "NUMSUB", channel_of(job.id))
        # Once they have left there is none, which Redis learns in a moment
        nobody = b":0\r\n"
        await until(lambda: nobody in redis_server.run("PUBSUB", "NUMSUB", channel_of(job.id)), "unsubscribed")
        # And one that comes again is told again
        async with TwoProcesses(redis_server.url) as others, bus.watch(job.id) as events:
            others.publish(step(job, 1))
            assert await told(events, 1) == [step(job, 1)]


async def test_what_a_newer_process_says_is_understood_as_far_as_it_can_be(redis_server: RedisServer) -> None:
    job = a_job()
    channel = channel_of(job.id)
    async with a_bus(redis_server.url) as bus, bus.watch(job.id) as events:
        # Given messages of kinds that nobody knows, with states that nobody knows, and sheer noise
        origin = "0" * 16
        noise = ["{}", "1", "", '{"id":1}', '{"stage":"knitting","step":1,"total_steps":2}']
        for message in ("", "z", *(kind + origin + body for kind in "spvx" for body in noise)):
            redis_server.run("PUBLISH", channel, message)
        # When one has more fields than this version knows
        known = '{"stage":"denoising","step":3,"total_steps":1000,"elapsed_s":0.0'
        redis_server.run("PUBLISH", channel, f'p{origin}{known},"warmth":[9]}}')
        # Then that is the first that is told
        assert await told(events, 1) == [step(job, 3)]


async def test_an_end_that_was_never_published_is_told_all_the_same(redis_server: RedisServer) -> None:
    # Given a watcher of a job, of which no process says anything
    store = InMemoryJobStore()
    job = await stored(store)
    async with a_bus(redis_server.url, store, compare_s=0.05) as bus, bus.watch(job.id) as events:
        # When the store knows that it has moved on
        cancelled = await store.cancel(job.id, later())
        assert cancelled is not None
        # Then the watcher is told, once
        async with asyncio.timeout(SOON_S):
            heard = [event async for event in _until(events, StateChanged(job=cancelled))]
        assert heard[-1] == StateChanged(job=cancelled)
        await all_arrived(bus, bus)
        bus.close()
        assert [event async for event in events] == []


async def _until(events: AsyncIterator[Event], last: Event) -> AsyncIterator[Event]:
    async for event in events:
        yield event
        if event == last:
            return


async def test_no_state_is_missed_when_redis_is_killed_in_the_middle_of_a_job(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    # Given a job that one process watches and another one makes
    store = InMemoryJobStore()
    job = await stored(store)
    rules = {"compare_s": 60.0, "compare_away_s": 0.05}
    async with a_bus(redis_server.url, store, **rules) as here, a_bus(redis_server.url, store, **rules) as there:
        seen: list[Event] = []
        watching = asyncio.create_task(House(store, here, tmp_path).history(job, seen))
        await until_seen(seen, StateChanged(job=job))
        running = await store.claim(job.id, "n/w1", later())
        assert running is not None
        there.publish(StateChanged(job=running))
        there.publish(step(job, 1))
        await until_seen(seen, step(job, 1))
        # When Redis is killed, the job is lost by its worker and taken again meanwhile, and Redis is back, empty
        redis_server.kill()
        waiting = await store.give_back(job.id, 1, LOST, later())
        assert waiting is not None
        there.publish(StateChanged(job=waiting))
        await until_seen(seen, StateChanged(job=waiting))
        redis_server.start()
        again = await store.claim(job.id, "n/w2", later())
        assert again is not None
        there.publish(StateChanged(job=again))
        await until_seen(seen, StateChanged(job=again))
        # And the job goes on, then its steps are told again, and its end
        async with asyncio.timeout(SOON_S):
            while seen[-1] != step(job, 2):
                there.publish(step(job, 2))
                await asyncio.sleep(0.02)
        done = await store.complete(job.id, 2, [an_original(job)], [], later())
        assert done is not None
        there.publish(StateChanged(job=done))
        await asyncio.wait_for(watching, SOON_S)
    told_states = [event.job.state.value for event in seen if isinstance(event, StateChanged)]
    assert told_states == ["pending", "processing", "pending", "processing", "completed"]


async def test_a_job_that_ends_while_redis_is_away_ends_for_its_watchers(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    store = InMemoryJobStore()
    job = await stored(store)
    redis_server.kill()
    try:
        # Given a process that has never reached Redis
        async with a_bus(redis_server.url, store, compare_away_s=0.05) as bus:
            house, seen = House(store, bus, tmp_path), list[Event]()
            watching = asyncio.create_task(house.history(job, seen))
            await until_seen(seen, StateChanged(job=job))
            assert await bus.progress(job.id) is None
            # When the job ends elsewhere, then its watcher is told
            await store.cancel(job.id, later())
            await asyncio.wait_for(watching, SOON_S)
            # And so it is at once of what happens in this process
            other = await stored(store)
            watching = asyncio.create_task(house.history(other, seen))
            await until_seen(seen, StateChanged(job=other))
            await house.studio.cancel(other.id)
            await asyncio.wait_for(watching, SOON_S)
    finally:
        redis_server.start()


async def test_a_job_that_is_removed_before_its_end_was_told_keeps_nobody_waiting(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    store = InMemoryJobStore()
    job, other = await stored(store), await stored(store)
    # Given one who waits for a job, and one who watches it, of which no process says anything
    async with a_bus(redis_server.url, store, compare_s=0.02) as bus:
        house, seen = House(store, bus, tmp_path), list[Event]()
        watching = [asyncio.create_task(house.studio.wait(job.id)), asyncio.create_task(house.history(job, seen))]
        waiting = asyncio.create_task(house.studio.wait(other.id))
        await until_seen(seen, StateChanged(job=job))
        # When it is cancelled and removed
        await store.cancel(job.id, later())
        await InMemoryKeptJobs(store).remove([job.id])
        # Then both hear that it is gone
        async with asyncio.timeout(SOON_S):
            failures = await asyncio.gather(*watching, return_exceptions=True)
        assert [type(failure) for failure in failures] == [JobNotFound, JobNotFound]
        # And who waits for another one waits on
        cancelled = await store.cancel(other.id, later())
        assert await asyncio.wait_for(waiting, SOON_S) == cancelled


async def test_a_job_that_the_store_does_not_know_for_once_is_watched_on(redis_server: RedisServer) -> None:
    # Given a store that does not know a job in every second look
    class Flickering(InMemoryJobStore):
        looks = 0

        async def ages(self, job_ids: Collection[str]) -> Mapping[str, tuple[int, int]]:
            self.looks += 1
            return {} if self.looks % 2 else await super().ages(job_ids)

    store = Flickering()
    job = await stored(store)
    async with a_bus(redis_server.url, store, compare_s=0.01) as bus, bus.watch(job.id, only_states=True) as events:
        bus.publish(StateChanged(job=job))
        await until(lambda: store.looks > 6, "some looks")
        # Then its watch has not ended
        cancelled = await store.cancel(job.id, later())
        assert cancelled is not None
        assert await told(events, 2) == [StateChanged(job=job), StateChanged(job=cancelled)]


async def test_a_redis_that_stands_still_delays_nobody_for_long(redis_server: RedisServer, tmp_path: Path) -> None:
    # Given a Redis that has stopped answering, without a connection being closed
    store = InMemoryJobStore()
    job = await stored(store)
    rules = {"compare_s": 0.05, "compare_away_s": 0.05, "subscribe_wait_s": 0.2}
    async with a_bus(redis_server.url, store, **rules) as bus:
        redis_server.pause()
        try:
            # When a job is watched and ends elsewhere, then its watcher is told
            seen: list[Event] = []
            watching = asyncio.create_task(House(store, bus, tmp_path).history(job, seen))
            await until_seen(seen, StateChanged(job=job))
            await store.cancel(job.id, later())
            await asyncio.wait_for(watching, SOON_S)
        finally:
            redis_server.resume()


async def test_publishing_takes_no_more_memory_than_a_bound_while_redis_is_away(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("danqing.events.outgoing.MOST_JOBS", 10)
    redis_server.kill()
    try:
        async with a_bus(redis_server.url) as bus:
            job = a_job()
            async with bus.watch(job.id) as events:
                # Given far more than there is room for
                for _ in range(100):
                    bus.publish(changed(a_job(), JobState.PENDING))
                for number in range(200):
                    bus.publish(preview(job, number))
                bus.publish(changed(job, JobState.COMPLETED))
                # Then those who watch here are told, and the rest is counted as lost
                await until_completed(events, job)
            assert bus.lost >= 90
    finally:
        redis_server.start()


async def test_progress_is_forgotten_when_a_job_waits_again(redis_server: RedisServer) -> None:
    job = a_job()
    async with TwoProcesses(redis_server.url) as bus:
        bus.publish(changed(job, JobState.PROCESSING))
        bus.publish(step(job, 1))
        assert await bus.publisher.flushed(wait_s=SOON_S)
        assert await bus.progress(job.id) == step(job, 1).progress
        # When its worker is lost, then nobody is at it
        bus.publish(changed(job, JobState.PENDING))
        assert await bus.publisher.flushed(wait_s=SOON_S)
        assert await bus.progress(job.id) is None
        # And the next attempt begins again
        bus.publish(changed(job, JobState.PROCESSING))
        bus.publish(step(job, 2))
        assert await bus.publisher.flushed(wait_s=SOON_S)
        assert await bus.progress(job.id) == step(job, 2).progress
        # And nothing of it stays for ever
        assert redis_server.run("TTL", progress_key(job.id)) not in (b":-1\r\n", b":-2\r\n")


async def test_of_a_thousand_watched_jobs_only_those_that_moved_are_read(redis_server: RedisServer) -> None:
    # Given watched jobs of which the watchers know the state
    reads: list[str] = []

    class CountingStore(InMemoryJobStore):
        async def get(self, job_id: str) -> Job:
            reads.append(job_id)
            return await super().get(job_id)

    store = CountingStore()
    jobs = [await store.add(a_job(), 9999) for _ in range(1000)]
    async with a_bus(redis_server.url, store, compare_s=0.02) as bus:
        watches = [bus.watch(job.id) for job in jobs]
        events = await asyncio.gather(*(watch.__aenter__() for watch in watches))
        for job in jobs:
            bus.publish(StateChanged(job=job))
        reads.clear()
        # When one moves on
        cancelled = await store.cancel(jobs[7].id, later())
        assert cancelled is not None
        async with asyncio.timeout(SOON_S):
            async for event in events[7]:
                if event == StateChanged(job=cancelled):
                    break
        # Then it alone was read
        assert set(reads) == {jobs[7].id}
        await asyncio.gather(*(watch.__aexit__(None, None, None) for watch in watches))


async def test_a_password_reaches_no_log(
    redis_server: RedisServer, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    guarded = RedisServer(password="s3cret-word")
    guarded.start()
    try:
        # Given one who knows the password, and one who has another one
        job = a_job()
        async with a_bus(guarded.url) as bus, a_bus(guarded.url.replace("s3cret", "wr0ng")) as wrong:
            async with bus.watch(job.id) as events:
                bus.publish(step(job, 1))
                assert await told(events, 1) == [step(job, 1)]
            wrong.publish(step(job, 1))
            await wrong.flushed(wait_s=SOON_S)
            assert await wrong.progress(job.id) is None
    finally:
        guarded.kill()
    said = "".join(capfd.readouterr())
    assert "redis_away" in said or "redis_refused" in said
    assert "s3cret" not in said
    assert "wr0ng" not in said


async def test_the_job_as_it_was_when_it_was_watched_is_told_once(redis_server: RedisServer, tmp_path: Path) -> None:
    # Given a store that is looked at all the time
    store = InMemoryJobStore()
    job = await stored(store)
    async with a_bus(redis_server.url, store, compare_s=0.01) as bus:
        seen: list[Event] = []
        watching = asyncio.create_task(House(store, bus, tmp_path).history(job, seen))
        await until_seen(seen, StateChanged(job=job))
        for _ in range(20):
            await asyncio.sleep(0.01)
        # When it ends, then there are two states, for nobody was told twice
        cancelled = await store.cancel(job.id, later())
        assert cancelled is not None
        bus.publish(StateChanged(job=cancelled))
        await asyncio.wait_for(watching, SOON_S)
        assert seen == [StateChanged(job=job), StateChanged(job=cancelled)]
        assert replace(job, state=JobState.CANCELLED).id == cancelled.id


async def test_what_was_completed_last_is_known_everywhere(redis_server: RedisServer) -> None:
    # Given jobs that end one after the other, at some process
    store = InMemoryJobStore()
    async with TwoProcesses(redis_server.url) as bus:
        times = [(NOW + timedelta(seconds=number), NOW + timedelta(seconds=number + 1)) for number in range(50)]
        for began, ended in times:
            job = await stored(store)
            await store.claim(job.id, "n/w1", began)
            done = await store.complete(job.id, 1, [an_original(job)], [], ended)
            assert done is not None
            bus.publish(StateChanged(job=done))
        bus.publish(StateChanged(job=await store.add(a_job(), 9)))
        assert await bus.publisher.flushed(wait_s=SOON_S)
        # Then another one knows of the last, oldest first
        assert await bus.watcher.completed_last() == times[-40:]


async def test_what_cannot_be_sent_keeps_nothing_else_from_being_sent(redis_server: RedisServer) -> None:
    # Given a job with half a character in its prompt, as JSON may have it
    broken, job = a_job(request=a_request(prompt="\ud83d")), a_job()
    async with TwoProcesses(redis_server.url) as bus, bus.watch(job.id) as events:
        bus.publish(changed(broken, JobState.PROCESSING))
        bus.publish(changed(job, JobState.PROCESSING))
        assert await told(events, 1) == [changed(job, JobState.PROCESSING)]
        assert bus.publisher.lost == 1


async def test_a_store_that_fails_now_and_then_is_asked_again(redis_server: RedisServer) -> None:
    # Given a store that does not answer, and then cannot read one of two watched jobs
    class FailingStore(InMemoryJobStore):
        failing, unreadable = True, ""

        async def ages(self, job_ids: Collection[str]) -> Mapping[str, tuple[int, int]]:
            if self.failing:
                raise StorageFailure
            return await super().ages(job_ids)

        async def get(self, job_id: str) -> Job:
            if job_id == self.unreadable:
                raise StorageFailure
            return await super().get(job_id)

    store = FailingStore()
    one, other = await stored(store), await stored(store)
    store.unreadable = one.id
    bus_at_work = a_bus(redis_server.url, store, compare_s=0.01)
    async with bus_at_work as bus, bus.watch(one.id), bus.watch(other.id) as events:
        await asyncio.sleep(0.05)
        store.failing = False
        # Then the watcher of the other one is told how it is
        assert await told(events, 1) == [StateChanged(job=other)]
